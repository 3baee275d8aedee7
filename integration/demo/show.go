// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The file sizes are large enough that a transfer is a transfer, and small
// enough that it takes a blink.
const (
	downloadSize = 5 << 20 // bytes
	uploadSize   = 2 << 20 // bytes
)

// A show is the demonstration.
type show struct {
	*printer
	self     string // this program
	pasvport string
	strategy string
	dir      string // for the daemon's files
	network  *network
	notes    *journal[note]      // of the server
	kernel   *journal[happening] // of the firewall's namespace
	daemon   *daemon
}

// errNotAsItShould is the outcome of a show that ran to its end with a FAIL in it.
var errNotAsItShould = errors.New("not everything came out as it should")

// runShow runs the whole demonstration. Whatever happens, the namespaces are gone
// when it returns.
func runShow(args []string) error {
	s := &show{printer: newPrinter(), network: newNetwork()}
	flags := flag.NewFlagSet("show", flag.ExitOnError)
	flags.StringVar(&s.pasvport, "pasvport", "", "the pasvport program")
	flags.StringVar(&s.strategy, "strategy", "auto", "strategy of pasvport: auto, expectation or claim")
	_ = flags.Parse(args)

	// Children die with the thread that started them; this one lives to the end.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	var err error
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "pasvport-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	defer s.network.remove()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = s.play(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted; everything was cleaned up")
	}
	return err
}

// play is the order of the show.
func (s *show) play(ctx context.Context) error {
	begun := time.Now()
	s.text(introduction)
	for _, scene := range []func(context.Context) error{
		s.build, s.without, s.startDaemon, s.with, s.narrow, s.stopDaemon,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	right := s.summary()
	s.text(fmt.Sprintf("Took %.0f seconds. The three namespaces are removed now.\n", time.Since(begun).Seconds()))
	if !right {
		return errNotAsItShould
	}
	return nil
}

const introduction = `
FTP uses two connections: one for commands, and for each file a second one, the
data connection, to an address that is agreed on the fly. In passive mode the
server announces where the client shall connect to; in active mode the client
announces where the server shall connect to. A strict firewall does not know of
that agreement and drops the data connection. pasvport reads the agreement as it
passes, corrects the addresses in it, and lets in exactly that one connection.
`

// build makes the network and starts what runs all along: server and watchers.
func (s *show) build(ctx context.Context) error {
	s.step("Three machines, each a network namespace of this one")
	if err := s.network.build(ctx); err != nil {
		return err
	}
	s.text(drawing)
	s.text(`
The firewall drops everything but the FTP control port (21) from inside to
outside and the answers to it. Outside, the client is seen as ` + outsideAddr + `.
Its whole ruleset ("nft list ruleset"):
`)
	s.quote(firewallRules)

	s.notes = newJournal[note]()
	_, err := startPart(ctx, s.network.inside(s.network.server, s.self, "server", "-size", fmt.Sprint(downloadSize)), s.notes)
	if err != nil {
		return err
	}
	ready := func(ns []note) bool { return len(ns) > 0 && ns[len(ns)-1].Kind == noteReady }
	if !s.notes.await(ctx, 10*time.Second, 0, ready) {
		return errors.New("the FTP server did not start")
	}
	s.kernel, err = watchKernel(ctx, s.network)
	return err
}

// without shows that neither mode gets through the bare firewall.
func (s *show) without(ctx context.Context) error {
	s.step("Without pasvport: the login works, both kinds of transfer fail")
	for _, o := range []order{{verb: "PASV"}, {verb: "PORT"}} {
		t, err := begin(ctx, s.network, s.self, s.notes, o)
		if err != nil {
			return err
		}
		if err := t.end(ctx); err != nil {
			return err
		}
		s.heading(title(o))
		s.printAnnouncement(t)
		_, _, arrived := t.file()
		saw := "the transfer went through"
		if failure := t.failure(); failure != nil && !arrived {
			saw = "fails, as expected"
			s.row("the client's error", failure.Error())
			s.row("why", reasonOfFailure(t))
		}
		if !t.loggedIn() {
			saw = "not even the login worked"
		}
		s.check(title(o)+", no pasvport", saw, t.loggedIn() && t.failure() != nil && !arrived)
	}
	return nil
}

// reasonOfFailure explains a failure without pasvport.
func reasonOfFailure(t *transfer) string {
	if t.activeMode() {
		return "the server is told a private address, which means nothing where it is"
	}
	return "the firewall drops the client's connection to a port nobody allowed"
}

// startDaemon starts pasvport in the firewall's namespace.
func (s *show) startDaemon(ctx context.Context) error {
	s.step("Start pasvport on the firewall")
	var err error
	s.daemon, err = startDaemon(ctx, s.pasvport, s.strategy, s.dir, s.network)
	if err != nil {
		return err
	}
	s.text("\nThe command:\n\n")
	s.quote("pasvport " + strings.Join(s.daemon.args, " "))
	s.text("\nIts log:\n\n")
	s.log(s.daemon.process.stderr.since(0))
	chain, err := output(ctx, s.network.inside(s.network.firewall, "nft", "list", "chain", "inet", "firewall", "forward")...)
	if err != nil {
		return err
	}
	s.text("\nThe firewall's chain now begins with two rules, for IPv6 and IPv4, that let in what is\nin a set. The sets are empty:\n\n")
	s.quote(chain)
	return nil
}

const holesExplained = `
For each data connection pasvport opens a hole, which has two parts:
  - an expectation (or a claim): the kernel's connection tracking will know the
    connection as belonging to this FTP session, and translate its addresses;
  - an entry in the set of the firewall's rule above: source, destination, port.
Both are closed when the connection has come. What follows is what the two ends
said and heard, and what "conntrack -E" and "nft monitor" reported on the firewall;
times count from the start of the session.
`

// with shows transfers in both modes and both directions.
func (s *show) with(ctx context.Context) error {
	s.step("With pasvport: the same transfers, and more")
	s.text(holesExplained)
	for _, o := range []order{
		{verb: "PASV"}, {verb: "PORT"}, {verb: "EPSV", upload: uploadSize}, {verb: "EPRT", upload: uploadSize},
	} {
		if err := s.withOne(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// withOne runs one transfer through pasvport and prints what became of it.
func (s *show) withOne(ctx context.Context, o order) error {
	happened, logged := s.kernel.mark(), s.daemon.process.stderr.mark()
	t, err := begin(ctx, s.network, s.self, s.notes, o)
	if err != nil {
		return err
	}
	if err := t.end(ctx); err != nil {
		return err
	}
	hole := s.awaitClosed(ctx, happened)

	s.heading(title(o))
	s.printAnnouncement(t)
	s.printHappenings(t.begun, happened)
	client, server, same := t.file()
	if same {
		s.row("file", fmt.Sprintf("%d bytes", client.Size))
		s.row("", "SHA-256 at the client  "+client.Sum)
		s.row("", "SHA-256 at the server  "+server.Sum)
	}
	if log := s.daemon.process.stderr.since(logged); len(log) > 0 {
		s.row("pasvport's log", "")
		s.log(log)
	}
	saw, ok := outcome(t, hole)
	s.check(title(o)+", with pasvport", saw, ok)
	return nil
}

// outcome says in one line how a transfer through pasvport went. hole is the
// complaint about its hole, "" if that was opened and closed.
func outcome(t *transfer, hole string) (string, bool) {
	_, _, same := t.file()
	switch failure := t.failure(); {
	case failure != nil:
		return "fails: " + failure.Error(), false
	case !same:
		return "the two ends have different files", false
	case hole != "":
		return "the file arrived, but " + hole, false
	}
	return "works, same checksum at both ends, hole closed again", true
}

// awaitClosed waits until a hole was opened since a mark and all of it is closed
// again; otherwise it says what is wrong.
func (s *show) awaitClosed(ctx context.Context, mark int) string {
	var open, all int
	tidy := s.kernel.await(ctx, 3*time.Second, mark, func(hs []happening) bool {
		found := holes(hs)
		all, open = len(found), stillOpen(found)
		return all >= holeParts && open == 0 && slices.ContainsFunc(hs, isConnection)
	})
	switch {
	case tidy:
		return ""
	case open > 0:
		return "a part of its hole is still open"
	}
	return fmt.Sprintf("the kernel reported %d of the %d parts of its hole, or no data connection", all, holeParts)
}

func title(o order) string {
	mode := map[string]string{"PASV": "Passive mode", "EPSV": "Passive mode", "PORT": "Active mode", "EPRT": "Active mode"}[o.verb]
	direction := "download"
	if o.upload > 0 {
		direction = "upload"
	}
	return fmt.Sprintf("%s (%s), %s", mode, o.verb, direction)
}

// printAnnouncement shows the announcement at both ends.
func (s *show) printAnnouncement(t *transfer) {
	sent, heard := t.announcements()
	speaker, listener := "client", "server"
	if !t.activeMode() {
		speaker, listener = listener, speaker
	}
	s.row(speaker+" announced", sent.String())
	s.row(listener+" heard", heard.String())
	if sent.line != heard.line {
		s.row("", "rewritten on the way: the client's address outside is "+outsideAddr)
	}
}

// printHappenings shows what the kernel reported, each hole with the time it was
// open, counted from the start of the session.
func (s *show) printHappenings(begun time.Time, mark int) {
	since := func(at time.Time) int64 { return at.Sub(begun).Milliseconds() }
	happened := s.kernel.since(mark)
	for _, h := range holes(happened) {
		until := "and is still open"
		if !h.closed.IsZero() {
			until = fmt.Sprintf("closed %d ms", since(h.closed))
		}
		s.row(h.what, fmt.Sprintf("%s: opened %d ms, %s", h.where, since(h.opened), until))
	}
	for _, h := range happened {
		if isConnection(h) {
			s.row(h.what, h.where)
		}
	}
}
