// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPortsUsedAgain: connections follow one another with the same ports. The
// daemon is suspended meanwhile, so that it learns of the end of one together
// with the first bytes of the next, and must not take these for bytes of the old
// one.
func TestPortsUsedAgain(t *testing.T) {
	needDaemon(t)
	const port, rounds = 31000, 12
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("masquerade"), AllowRelated, s)
			site.Case(Case{Family: IPv4, Kind: "ports used again"}).Count(t)
			ln := site.ListenControl(t, IPv4)
			signal := func(sig syscall.Signal) {
				t.Helper()
				if err := site.Daemons[0].Signal(sig); err != nil {
					t.Fatal(err)
				}
				if sig != syscall.SIGSTOP {
					return
				}
				if err := waitFor(lineTimeout, "stopped daemon", site.Daemons[0].halted); err != nil {
					t.Fatal(err)
				}
			}
			for i := range rounds {
				h := []*Host{site.Client, site.Client2, site.Client2}[i%3]
				d := site.connect(t, ln, h, IPv4, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
				if i == 0 {
					d.Reply("220 ready")
				} else {
					if _, err := io.WriteString(d.Server, "220 ready\r\n"); err != nil {
						t.Fatal(err)
					}
					if err := waitFor(lineTimeout, "greeting in the queue", site.queued); err != nil {
						t.Fatal(err)
					}
					signal(syscall.SIGCONT)
					if line, err := hear(d.Client, d.heardByClient); err != nil || line != "220 ready" {
						t.Fatalf("round %d: the client received %q: %v", i, line, err)
					}
				}
				d.login()
				for _, m := range []Mode{PORT, PASV} {
					d.Announce(m).MustOpen(t).Close()
					d.Reply("226 transfer complete")
				}
				d.Command("QUIT")
				d.Reply("221 bye")
				signal(syscall.SIGSTOP)
				d.Server.Close()
				d.Client.SetLinger(0) // a reset: the port is free at once
				d.Client.Close()
			}
			signal(syscall.SIGCONT)
			if list, err := site.Daemons[0].Sessions(); err != nil || len(list) > 2 {
				t.Errorf("%d sessions remain of two clients with a port each: %v", len(list), err)
			}
		})
	}
}

// halted reports whether a signal has stopped every thread of a process.
func (p *Process) halted() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
	for _, name := range threads {
		text, _ := os.ReadFile(name)
		if _, state, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return len(threads) > 0
}

// queued reports whether a packet waits for its verdict.
func (s *Site) queued() bool {
	for line := range strings.Lines(s.Firewalls[0].Proc("netfilter/nfnetlink_queue")) {
		if f := strings.Fields(line); len(f) > 2 && f[2] != "0" {
			return true
		}
	}
	return false
}
