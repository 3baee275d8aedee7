// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func mustAddrPort(addr string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), 0)
}

// reloading is a daemon that was started with a file.
type reloading struct {
	*Daemon
	file string
}

// startWithFile starts the daemon with a file as its only configuration.
func (s *Site) startWithFile(t *testing.T, text string) *reloading {
	t.Helper()
	c, _ := s.DaemonCommand(t, s.Firewalls[0])
	return s.startProgram(t, c.Args[0], text)
}

// startProgram starts the program with a file as its only configuration.
func (s *Site) startProgram(t *testing.T, bin, text string) *reloading {
	t.Helper()
	fw := s.Firewalls[0]
	file, err := fw.File("pasvport.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(fw.Dir, "control.sock")
	p, err := fw.Start(Cmd(bin, "run", "--config", file, "--control-socket", socket))
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Process: p, Host: fw, Socket: socket, bin: bin}
	s.Before(func() { d.end(s.t) })
	if err := p.WaitLog(startTimeout, "msg=ready"); err != nil {
		d.stopped = true
		t.Fatal(err)
	}
	return &reloading{Daemon: d, file: file}
}

// reload changes the file, and returns what the daemon logs about it.
func (r *reloading) reload(t *testing.T, text, says string) string {
	t.Helper()
	before := len(r.Output())
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	said := func() bool { return strings.Contains(r.Output()[before:], says) }
	if err := waitFor(startTimeout, says, said); err != nil {
		t.Fatalf("%v:\n%s", err, r.Output()[before:])
	}
	return r.Output()[before:]
}

const reloaded = `msg="configuration reloaded"`

// TestReloadBad: the old configuration stays, and the log names the faulty line
// or the missing chain.
func TestReloadBad(t *testing.T) {
	site := lifecycleSite(t, Auto, AllowChain, "reload")
	const good = "port: [21]\nallow: chain=inet/filter/forward\n"
	d := site.startWithFile(t, good)
	server := site.StartServer(t, Pyftpdlib)
	before := site.own(t)
	for _, c := range []struct{ text, says string }{
		{"port: [21]\nprot: [22]\n", `pasvport.yaml:2:1: unknown key`},
		{"port: [21]\nallow: related\nmin-data-port: 0\n", `pasvport.yaml:3:16: min-data-port`},
		{"port: [21]\npeer: 10.9.0.2:2121\n", `want all three, or none`},
		{"port: [21, 99]\nallow: chain=inet/filter/nowhere\n", `err="--allow \"chain=inet/filter/nowhere\": nftables: find chain inet filter nowhere: no such chain, want chains that exist"`},
	} {
		if log := d.reload(t, c.text, `msg="configuration not reloaded"`); !strings.Contains(log, c.says) || strings.Contains(log, reloaded) {
			t.Errorf("%q: the log does not say %s:\n%s", c.text, c.says, log)
		}
		if after := site.own(t); after != before {
			t.Errorf("a bad file changed the ruleset to\n%s\nfrom\n%s", after, before)
		}
	}
	site.mustTransfer(t, server)
}

// TestReloadCommand: the command waits for the outcome and reports it, and a bad
// file leaves the daemon as it was.
func TestReloadCommand(t *testing.T) {
	site := lifecycleSite(t, Auto, AllowChain, "reload")
	const good = "port: [21]\nallow: chain=inet/filter/forward\n"
	d := site.startWithFile(t, good)
	before := site.own(t)
	command := Cmd(d.bin, "reload", "--config", d.file, "--control-socket", d.Socket)
	for _, c := range []struct {
		text, says string
		status     int
	}{
		{"port: [21]\nprot: [22]\n", "pasvport.yaml:2:1: unknown key", 2},
		{"port: [21]\nxferlog: /no/such/log\n", `configuration not reloaded: xferlog "/no/such/log": `, 2}, // it could not start again
		{"port: [21, 99]\nallow: chain=inet/filter/nowhere\n", "configuration not reloaded: ", 1},
		{good + "min-data-port: 2000\n", "", 0},
	} {
		if err := os.WriteFile(d.file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := d.Host.Start(command)
		if err != nil {
			t.Fatal(err)
		}
		if status, err := p.Wait(startTimeout); err != nil || status != c.status {
			t.Errorf("%q: exit status %d, %v, want %d", c.text, status, err, c.status)
		}
		if out := p.Output(); !strings.Contains(out, c.says) || strings.Count(out, "\n") > 1 {
			t.Errorf("%q: it says %q, want %q", c.text, out, c.says)
		}
		if after := site.own(t); after != before {
			t.Errorf("%q changed the ruleset to\n%s\nfrom\n%s", c.text, after, before)
		}
	}
	if err := d.WaitLog(lineTimeout, reloaded); err != nil {
		t.Errorf("the log does not say that the good file is in force: %v", err)
	}
}

// TestReload: ports, chains, policy and log level change while a session runs and
// an offer is open; the log names what cannot change.
func TestReload(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := lifecycleSite(t, s, AllowChain, "reload")
			strategy := "strategy: " + s.Strategy + "\n"
			d := site.startWithFile(t, strategy+"port: [2121]\n")
			const chains = "allow: chain=inet/filter/forward\n"
			ln := site.ListenControl(t, IPv4)

			// Port 21 is a control port from now on.
			d.reload(t, strategy+chains+"port: [21, 2121]\nlog-level: debug\n", reloaded)
			talk := site.Talk(t, ln, site.Client, IPv4)
			talk.Announce(PASV).MustOpen(t)
			if err := d.WaitLog(lineTimeout, "level=DEBUG"); err != nil {
				t.Errorf("log-level debug has no effect: %v", err)
			}
			// An open offer survives the reload.
			offer := talk.Announce(PORT)
			log := d.reload(t, strategy+chains+"port: [21]\nmin-data-port: 65000\nqueue-num: 99\n", "need a restart")
			if !strings.Contains(log, "queue-num") || strings.Contains(log, "settings=\"[min") {
				t.Errorf("the log does not name what needs a restart:\n%s", log)
			}
			offer.MustOpen(t)
			// The session keeps its policy, the next one gets the new one.
			talk.Announce(PASV).MustOpen(t)
			next := site.Talk(t, ln, site.Client, IPv4)
			next.Announce(PASV).MustRefuse(t, site.Client, "a port below the new min-data-port")
		})
	}
}
