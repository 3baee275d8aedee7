// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestHookAdded adds a chain before ours while an announcement waits in the queue. The
// kernel then queues it again after it was changed: see changed in package gateway.
func TestHookAdded(t *testing.T) {
	needDaemon(t)
	for _, c := range []struct {
		position string
		flags    []string
	}{
		{"both-nat", nil},
		// Adjusted by the daemon.
		{"routed", []string{"--advertise", "203.0.113.2=203.0.113.222", "--advertise", "10.7.0.2=203.0.113.111"}},
	} {
		for _, m := range []Mode{PASV, PORT, EPRT} {
			t.Run(c.position+"/"+string(m), func(t *testing.T) {
				t.Parallel()
				s := NewSite(t, position(c.position), AllowRelated, Auto, c.flags...)
				s.Case(Case{Kind: "hook added", Family: IPv4, Mode: m}).Count(t)
				d := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
				first, err := d.announce(m, netip.AddrPortFrom(announcer(d, m), 50000))
				if err != nil {
					t.Fatal(err)
				}
				second := d.whileHookIsAdded(t, m, 50001)
				if second != netip.AddrPortFrom(first.Addr(), 50001) {
					t.Errorf("announced as %v, the first one as %v", second, first)
				}
				d.Exchange()
				if c.flags == nil { // otherwise the addresses do not exist
					d.Announce(m).MustOpen(t)
				}
			})
		}
	}
}

// announcer is the address that an announcement of a mode has.
func announcer(d *Dialogue, m Mode) netip.Addr {
	_, a, _ := d.listensAt(m)
	return a
}

// whileHookIsAdded announces a port in a line that waits in the queue while a chain is
// added, and returns what the other end receives.
func (d *Dialogue) whileHookIsAdded(t *testing.T, m Mode, port uint16) netip.AddrPort {
	t.Helper()
	fw, daemon := d.site.Firewalls[0], d.site.Daemons[0]
	numbers := argument(m, netip.AddrPortFrom(announcer(d, m), port))
	from, line := net.Conn(d.Client), string(m)+" "+numbers
	if !m.Active() {
		d.Command(string(m))
		from, line = d.Server, "227 Entering Passive Mode ("+argument(PORT, netip.AddrPortFrom(announcer(d, m), port))+")."
	}
	daemon.suspend(t)
	if _, err := io.WriteString(from, line+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(startTimeout, "packet in the queue", func() bool { return d.site.waiting(t) > 0 }); err != nil {
		t.Fatal(err)
	}
	fw.LoadRules(t, "table inet early {\n\tchain c {\n\t\ttype filter hook prerouting priority -400; policy accept;\n\t}\n}\n")
	if err := daemon.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var got string
	var err error
	if m.Active() {
		got, err = hear(d.Server, d.heardByServer)
		d.Reply("200 ok")
	} else {
		got, err = hear(d.Client, d.heardByClient)
	}
	if err != nil {
		t.Fatalf("received %q: %v", got, err)
	}
	to, err := d.announcedAs(got)
	if err != nil {
		t.Fatalf("received %q: %v", got, err)
	}
	return to
}

// suspend stops a daemon until it gets SIGCONT, and waits until each of its threads has
// stopped.
func (d *Daemon) suspend(t *testing.T) {
	t.Helper()
	if err := d.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Signal(syscall.SIGCONT) }) // it is asked to stop later
	if err := waitFor(startTimeout, "threads stopped", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.Pid))
		return len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
			b, err := os.ReadFile(path)
			return err == nil && !strings.Contains(string(b), ") T ")
		})
	}); err != nil {
		t.Fatal(err)
	}
}
