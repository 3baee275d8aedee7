// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// narrow shows how wide a hole is: who can use it, for what, and how often.
func (s *show) narrow(ctx context.Context) error {
	s.step("How wide is the hole? Others knock while it is open")
	happened := s.kernel.mark()
	t, err := begin(ctx, s.network, s.self, s.notes, order{verb: "PORT", pause: true})
	if err != nil {
		return err
	}
	knocked, err := s.knockAround(ctx, t, happened)
	if err != nil {
		return err
	}
	if !knocked {
		saw, _ := outcome(t, "it stopped half way")
		s.check("One announced port, and who gets through", saw, false)
		t.process.stdin.Close() // ends a pause that goes on
	}
	return t.end(ctx)
}

// knockAround knocks from several sides while session t stands still before and
// after its transfer. It is false when the session did not get that far.
func (s *show) knockAround(ctx context.Context, t *transfer, happened int) (bool, error) {
	if t.awaitPause(ctx, "announced") != nil {
		return false, nil
	}
	s.text("\nThe client has announced a port and waits; nothing has used the hole yet.\n\n")
	s.printAnnouncement(t)
	state, open := s.openHole(ctx, happened)
	s.check("The hole before the transfer", state, open)
	_, heard := t.announcements()
	next := netip.AddrPortFrom(heard.addr.Addr(), heard.addr.Port()+1)
	if err := s.knock(ctx, "A stranger at the announced port", strangerAddr, heard.addr); err != nil {
		return false, err
	}
	if err := s.knock(ctx, "The server at the next port", serverAddr, next); err != nil {
		return false, err
	}

	s.text("\nNow the client asks for the file. It keeps listening afterwards and stays logged in.\n\n")
	if err := t.resume(); err != nil {
		return false, err
	}
	if t.awaitPause(ctx, "transferred") != nil {
		return false, nil
	}
	saw, ok := outcome(t, s.awaitClosed(ctx, happened))
	s.check("The server at the announced port, once", saw, ok)
	if err := s.knock(ctx, "The server at the announced port, again", serverAddr, heard.addr); err != nil {
		return false, err
	}
	if sessions, err := s.daemon.ask(ctx, "sessions"); err == nil {
		s.text("\nWhat the administrator sees meanwhile (pasvport sessions):\n\n")
		s.quote(sessions)
	}
	return true, t.resume()
}

// openHole waits for the kernel's report of a hole that was opened and not closed.
func (s *show) openHole(ctx context.Context, mark int) (string, bool) {
	ok := s.kernel.await(ctx, 2*time.Second, mark, func(hs []happening) bool {
		return stillOpen(holes(hs)) == holeParts
	})
	if !ok {
		return "the kernel does not report it whole", false
	}
	return "open", true
}

// knock tries a connection from outside that must be dropped in silence.
func (s *show) knock(ctx context.Context, who, from string, to netip.AddrPort) error {
	notes := newJournal[note]()
	p, err := startPart(ctx, s.network.inside(s.network.server, s.self, "knock", "-from", from, "-to", to.String()), notes)
	if err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return err
	}
	all := notes.since(0)
	if len(all) == 0 {
		return fmt.Errorf("the knock at %v has no result", to)
	}
	result := all[len(all)-1].Text
	saw := map[string]string{
		knockSilent:  "blocked",
		knockRefused: "got through to a closed port",
		knockOpen:    "got through",
	}[result]
	s.check(who, fmt.Sprintf("%-8s %s -> %v", saw, from, to), result == knockSilent)
	return nil
}

// stopDaemon stops pasvport and shows that the firewall is as it was.
func (s *show) stopDaemon(ctx context.Context) error {
	s.step("Stop pasvport: the firewall is as it was before")
	if err := s.daemon.process.stop(); err != nil {
		return err
	}
	after, err := output(ctx, s.network.inside(s.network.firewall, "nft", "-s", "list", "ruleset")...)
	if err != nil {
		return err
	}
	expectations, err := output(ctx, s.network.inside(s.network.firewall, "conntrack", "-L", "expect")...)
	if err != nil {
		return err
	}
	same := squeeze(after) == squeeze(firewallRules)
	if !same {
		s.text("\nThe ruleset now:\n")
		s.quote(after)
	}
	s.check("The ruleset after the stop", map[bool]string{true: "word for word the same as in step 1", false: "differs from step 1"}[same], same)
	none := !strings.Contains(expectations, "src=")
	s.check("Expectations after the stop", map[bool]string{true: "none left in the kernel", false: strings.TrimSpace(expectations)}[none], none)
	return nil
}

// squeeze makes rulesets comparable: one blank between words.
func squeeze(ruleset string) string { return strings.Join(strings.Fields(ruleset), " ") }
