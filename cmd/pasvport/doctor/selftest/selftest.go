// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/cmd/pasvport/netns"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules/walk"
)

// fileSize is how much is transferred each way: many segments.
const fileSize = 256 << 10

// refusedAfter is how long to try a data connection that must fail.
const refusedAfter = time.Second

// A test is one run of the self-test.
type test struct {
	Report
	cfg     config.Config
	show    *show
	network *network
	client  host // client of network
	outside host // server of network
	server  *server
	witness *witness
	daemon  *daemon
	ruleset string // of the firewall before pasvport, if it can be printed
}

// Run builds the network, transfers files and removes everything again. The
// control port, --allow, --strategy, --table and --ct-mark are those of cfg.
// Failed steps are in the report; the error is that of ctx. If w is not nil it
// gets everything that happens, as text.
func Run(ctx context.Context, cfg config.Config, w io.Writer) (*Report, error) {
	t := &test{cfg: cfg, show: newShow(w), network: &network{ipv6: kernel.HasIPv6()}}
	defer t.network.close()
	t.run(ctx)
	return &t.Report, ctx.Err()
}

func (t *test) run(ctx context.Context) {
	if t.show != nil {
		t.show.text(introduction)
	}
	if !t.build() {
		return
	}
	defer t.server.close()
	if !t.without() {
		return
	}
	started := t.start()
	if t.daemon == nil {
		return
	}
	defer t.daemon.close()
	if started && ctx.Err() == nil {
		t.transfers(ctx)
	}
	if started && ctx.Err() == nil {
		t.narrow()
	}
	t.stop()
	t.show.scene("Summary")
}

// step runs one step and reports whether it succeeded. f returns what was seen.
func (t *test) step(name string, f func() (saw string, err error)) bool {
	begin := time.Now()
	saw, err := f()
	s := Step{Name: name, OK: err == nil, Took: time.Since(begin).Seconds()}
	if err != nil {
		s.Error = strings.Join(strings.Fields(err.Error()), " ")
		if t.daemon != nil {
			s.Log = t.daemon.tail()
		}
	}
	t.add(s, saw)
	return err == nil
}

func (t *test) add(s Step, saw string) {
	t.Steps = append(t.Steps, s)
	t.show.result(&s, saw)
}

// build makes the three hosts and starts the server.
func (t *test) build() bool {
	n := t.network
	t.show.scene("Three machines, each a network namespace of this one")
	if t.show != nil {
		t.show.text(drawing)
	}
	built := t.step("three namespaces: client, firewall that drops everything but the control port, server", func() (string, error) {
		if err := n.build(); err != nil {
			return "", err
		}
		t.client, t.outside = n.client, n.server
		return "", n.lockDown(t.cfg)
	})
	if !built {
		return false
	}
	if t.show != nil {
		t.print("The firewall's whole ruleset (\"nft list ruleset\"):", "list", "ruleset")
		t.ruleset, _ = output(n.firewall, "nft", "-s", "list", "ruleset")
		var err error
		if t.witness, err = newWitness(n.firewall, controlPort(t.cfg)); err != nil {
			t.show.text("What the kernel reports is not shown: " + err.Error() + ".")
		}
	}
	return t.step("FTP server", func() (_ string, err error) {
		t.server, err = startServer(t.outside, controlPort(t.cfg))
		return "", err
	})
}

// print quotes the output of nft.
func (t *test) print(text string, args ...string) {
	if out, err := output(t.network.firewall, "nft", args...); err == nil {
		t.show.text(text)
		t.show.quote(out)
	}
}

// without makes sure that pasvport is the reason for what works later.
func (t *test) without() bool {
	t.show.scene("Without pasvport: the login works, both kinds of transfer fail")
	return t.step("without pasvport: a control connection, and no data connection", func() (string, error) {
		for _, try := range []struct{ verb, why string }{
			{"PASV", "the firewall drops the client's connection to a port that no rule allows"},
			{"PORT", "the server is told a private address, which means nothing where it is"},
		} {
			failure, err := t.refused(try.verb)
			if err != nil {
				return "", err
			}
			t.show.row(try.verb, failure.Error())
			t.show.row("", try.why)
		}
		return "fails, as it should", nil
	})
}

// errNotRefused means that the test would prove nothing.
var errNotRefused = errors.New("the data connection was opened although nothing allows it")

// refused makes a transfer that must fail, and returns how it fails.
func (t *test) refused(verb string) (failure, err error) {
	c, err := login(t.client, t.address(server4), refusedAfter)
	if err != nil {
		return nil, err
	}
	defer c.close()
	switch err = c.fetch(verb, t.server.file); {
	case errors.Is(err, errRefused):
		return err, nil
	case err == nil:
		err = errNotRefused
	}
	return nil, err
}

// start starts pasvport.
func (t *test) start() bool {
	t.show.scene("Start pasvport on the firewall")
	t.show.text("The command:")
	t.show.quote("pasvport " + strings.Join(arguments(t.cfg), " "))
	started := t.step("pasvport starts", func() (_ string, err error) {
		t.daemon, err = startDaemon(t.network.firewall, t.cfg)
		return "", err
	})
	if !started || t.show == nil {
		return started
	}
	t.show.text("Its log:")
	t.show.log(t.daemon.since(0))
	if t.cfg.Allow == config.AllowChain {
		t.print("The firewall's chain now begins with two rules, for IPv6 and IPv4, that let in what is\nin a set. The sets are empty:",
			"list", "chain", "inet", tableName, "forward")
	} else {
		t.print("The firewall's own rules are as they were. Beside them is now one table more:",
			"-t", "list", "table", "inet", t.cfg.Table)
	}
	return true
}

// transfers runs sessions in every mode that fetch a file and store one.
func (t *test) transfers(ctx context.Context) {
	t.show.scene("With pasvport: the same transfers, and more")
	if t.show != nil {
		t.show.text(holesExplained)
	}
	for _, f := range []struct {
		family string
		addr   netip.Addr
		verbs  []string
	}{
		{"IPv4 with NAT", server4, []string{"PASV", "EPSV", "PORT", "EPRT"}},
		{"IPv6", server6, []string{"EPSV", "EPRT"}},
	} {
		for _, verb := range f.verbs {
			name := fmt.Sprintf("%s, %s: fetch and store", f.family, verb)
			switch {
			case ctx.Err() != nil:
			case f.addr == server6 && !t.network.ipv6:
				t.add(Step{Name: name, OK: true, Skipped: "IPv6 is off in this kernel"}, "")
			default:
				t.show.heading(name)
				t.step(name, func() (string, error) { return t.transfer(f.addr, verb) })
			}
		}
	}
}

func (t *test) address(host netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(host, controlPort(t.cfg))
}

// transfer is a session that fetches a file and stores one.
func (t *test) transfer(host netip.Addr, verb string) (string, error) {
	begun := time.Now()
	c, err := login(t.client, t.address(host), transferTimeout)
	if err != nil {
		return "", err
	}
	defer c.close()
	upload := make([]byte, fileSize)
	_, _ = rand.Read(upload) // never fails
	for _, do := range []struct {
		name string
		f    func() error
		tell bool // one of the two is enough to show
	}{
		{"fetch", func() error { return c.fetch(verb, t.server.file) }, verb[0] == 'P'},
		{"store", func() error { return c.store(verb, t.server, upload) }, verb[0] == 'E'},
	} {
		reported, logged := t.witness.mark(), t.daemon.mark()
		err := do.f()
		if err == nil {
			err = t.witness.closed(reported)
		}
		if do.tell || err != nil {
			t.tell(do.name, c, begun, reported, logged)
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", do.name, err)
		}
	}
	if _, err = c.say(2, "QUIT"); err != nil || t.witness == nil {
		return "", err
	}
	return "same bytes at both ends, holes closed again", nil
}

// tell shows what both ends said and received about a data connection, and what
// the kernel and pasvport reported since their marks.
func (t *test) tell(what string, c *client, begun time.Time, reported, logged int) {
	if t.show == nil {
		return
	}
	t.show.row(what+":", "")
	t.announced(c)
	since := func(at time.Time) int64 { return at.Sub(begun).Milliseconds() }
	happened := t.witness.since(reported)
	for _, h := range holes(happened) {
		until := "and is still open"
		if !h.closed.IsZero() {
			until = fmt.Sprintf("closed %d ms", since(h.closed))
		}
		t.show.row("  "+h.what, fmt.Sprintf("%s: opened %d ms, %s", h.where, since(h.opened), until))
	}
	for _, h := range happened {
		if isConnection(h) {
			t.show.row("  "+h.what, h.where)
		}
	}
	if c.sum != "" {
		t.show.row("  file", fmt.Sprintf("%d bytes", fileSize))
		t.show.row("", "SHA-256 at the client  "+c.sum)
		t.show.row("", "SHA-256 at the server  "+t.server.lastSum())
	}
	t.show.row("  pasvport's log", "")
	t.show.log(t.daemon.since(logged))
}

// announced shows the last announcement at both ends.
func (t *test) announced(c *client) {
	sent, heard, speaker, listener := c.announced, t.server.lastAnnounced(), "client", "server"
	if strings.HasPrefix(sent, "2") {
		sent, heard, speaker, listener = heard, sent, listener, speaker
	}
	t.show.row("  "+speaker+" announced", sent)
	t.show.row("  "+listener+" heard", heard)
	if sent != heard {
		t.show.row("", "rewritten on the way")
	}
}

// stop stops pasvport and looks for what it should have removed.
func (t *test) stop() {
	t.show.scene("Stop pasvport: the firewall is as it was before")
	t.step("pasvport stops and leaves nothing behind", func() (string, error) {
		if err := t.daemon.stop(); err != nil {
			return "", err
		}
		if err := leftovers(t.network.firewall); err != nil || t.ruleset == "" {
			return "", err
		}
		after, err := output(t.network.firewall, "nft", "-s", "list", "ruleset")
		if err == nil && after != t.ruleset {
			err = fmt.Errorf("the ruleset is another one now: %s", after)
		}
		return "the ruleset is word for word the same, no expectation is left", err
	})
}

// leftovers looks for what a daemon should have removed.
func leftovers(n *netns.Namespace) error {
	set, err := walk.Read(n.FD)
	if err != nil {
		return err
	}
	for _, c := range set.Chains() {
		if set.Ours(c.Family, c.Table) {
			return fmt.Errorf("its table %s is still there", c.Table)
		}
	}
	return n.Enter(func() error {
		c, err := expect.Dial()
		if err != nil {
			return err
		}
		defer c.Close()
		left, err := c.CountExpectations()
		if err == nil && left > 0 {
			err = fmt.Errorf("%d of its expectations are still there", left)
		}
		return err
	})
}
