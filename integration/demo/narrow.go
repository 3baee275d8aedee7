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
	if err := t.awaitPause(ctx, "announced"); err != nil {
		return err
	}
	s.text("\nThe client has announced a port and waits; nothing has used the hole yet.\n")
	s.printAnnouncement(t)
	_, heard := t.announcements()
	s.row("the hole is open", fmt.Sprint(s.holeIsOpen(ctx, happened)))

	next := netip.AddrPortFrom(heard.addr.Addr(), heard.addr.Port()+1)
	if err := s.knock(ctx, "a stranger at that port", strangerAddr, heard.addr); err != nil {
		return err
	}
	if err := s.knock(ctx, "the server at the next port", serverAddr, next); err != nil {
		return err
	}

	s.text("\nNow the client asks for the file. It keeps listening afterwards, and stays logged in.\n")
	if err := t.resume(); err != nil {
		return err
	}
	if err := t.awaitPause(ctx, "transferred"); err != nil {
		return err
	}
	_, _, same := t.file()
	s.check("The transfer that was announced", outcome(t, same, true), same)
	if err := s.knock(ctx, "the server, the same port again", serverAddr, heard.addr); err != nil {
		return err
	}
	if sessions, err := s.daemon.ask(ctx, "sessions"); err == nil {
		s.text("\nWhat the administrator sees meanwhile (pasvport sessions):\n")
		s.quote(sessions)
	}
	if err := t.resume(); err != nil {
		return err
	}
	if err := t.end(ctx); err != nil {
		return err
	}
	s.awaitClosed(ctx, happened)
	return nil
}

// holeIsOpen waits for the kernel's report of something opened and not closed.
func (s *show) holeIsOpen(ctx context.Context, mark int) bool {
	return s.kernel.await(ctx, 2*time.Second, mark, func(hs []happening) bool {
		opened, closed := holes(hs)
		return opened > closed
	})
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
	result := "no answer to the knock"
	for _, n := range notes.since(0) {
		result = n.Text
	}
	saw := map[string]string{
		knockSilent:  "blocked",
		knockRefused: "got through to a closed port",
		knockOpen:    "got through",
	}[result]
	s.row("", fmt.Sprintf("%s -> %v", from, to))
	s.check(capital(who), saw+": "+who, result == knockSilent)
	return nil
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

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
