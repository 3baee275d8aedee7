// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestRestartAdjusted: commands change length before the crash and after it, and
// pass with either daemon and without one.
func TestRestartAdjusted(t *testing.T) {
	for _, from := range []string{"client", "client2"} { // texts grow and shrink
		t.Run(from, func(t *testing.T) {
			eachRestart(t, AllowRelated, func(t *testing.T, s *Site) {
				h := map[string]*Host{"client": s.Client, "client2": s.Client2}[from]
				talk := s.Talk(t, s.ListenControl(t, IPv4), h, IPv4)
				for range 3 {
					for range 4 {
						talk.Announce(PORT)
						talk.Announce(EPRT)
					}
					s.end(t)
					s.echo(t, talk, "without a daemon")
					s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0])
					s.echo(t, talk, "after the restart")
					talk.Announce(PORT).MustOpen(t)
					talk.Announce(PASV).MustOpen(t)
				}
				if strings.Contains(s.Daemons[0].Output(), "adjusting sequence numbers here") {
					t.Error("the kernel did not adjust")
				}
			})
		})
	}
}

// TestRestartAdjustedHere: the control connection is older than the first daemon,
// so the kernel does not adjust it. Without a daemon it waits.
func TestRestartAdjustedHere(t *testing.T) {
	for _, from := range []string{"client", "client2"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			s := NewSiteOnly(t, position("both-nat"), AllowRelated, Claim)
			s.Case(Case{Kind: "restart"}).Count(t)
			h := map[string]*Host{"client": s.Client, "client2": s.Client2}[from]
			talk := s.Talk(t, s.ListenControl(t, IPv4), h, IPv4)
			s.StartSubject(t)
			talk.Exchange()
			for i := range 3 {
				for range 3 {
					talk.Announce(PORT).MustOpen(t).Close()
					talk.Announce(EPRT)
				}
				if i == 0 && !strings.Contains(s.Daemons[0].Output(), "adjusting sequence numbers here") {
					t.Skip("the kernel adjusts a connection that is older than the daemon")
				}
				s.crash(t)
				s.waits(t, talk, func() { s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0]) })
				s.echo(t, talk, "after the restart")
				talk.Announce(PASV).MustOpen(t)
			}
		})
	}
}

// waits sends a command from the client that must arrive after f and not before.
func (s *Site) waits(t *testing.T, talk *Dialogue, f func()) {
	t.Helper()
	if _, err := io.WriteString(talk.Client, "NOOP held\r\n"); err != nil {
		t.Fatal(err)
	}
	talk.Server.SetReadDeadline(time.Now().Add(refusedTimeout))
	if got, err := talk.heardByServer.ReadString('\n'); err == nil {
		t.Errorf("without a daemon the server received %q", got)
	}
	f()
	talk.Server.SetReadDeadline(time.Now().Add(2 * lineTimeout))
	if got, err := talk.heardByServer.ReadString('\n'); err != nil || got != "NOOP held\r\n" {
		t.Errorf("with a daemon again the server received %q, %v", got, err)
	}
}

// echo sends a line from both ends, each of which must arrive unchanged.
func (s *Site) echo(t *testing.T, talk *Dialogue, when string) {
	t.Helper()
	for i := range 3 {
		command, reply := fmt.Sprintf("NOOP %d", i), fmt.Sprintf("200 %d %s", i, strings.Repeat("x", i*50))
		if got := talk.Command(command); got != command {
			t.Errorf("%s the server received %q for %q", when, got, command)
		}
		if got := talk.Reply(reply); got != reply {
			t.Errorf("%s the client received %q for %q", when, got, reply)
		}
	}
}

// TestRestartRepeatedEdit: the edited segment is lost behind the firewall, the
// daemon dies, and the next one sees the segment again.
func TestRestartRepeatedEdit(t *testing.T) {
	t.Run("port free", func(t *testing.T) {
		eachRestart(t, AllowRelated, func(t *testing.T, s *Site) { s.testRepeatedEdit(t, false) })
	})
	t.Run("port taken", func(t *testing.T) {
		eachRestart(t, AllowRelated, func(t *testing.T, s *Site) { s.testRepeatedEdit(t, true) })
	})
}

// testRepeatedEdit: where another client has announced the same port, the port
// announced in its place must be the same both times.
func (s *Site) testRepeatedEdit(t *testing.T, taken bool) {
	fw := s.Firewalls[0]
	ln := s.ListenControl(t, IPv4)
	talk := s.Talk(t, ln, s.Client, IPv4)
	talk.Announce(PORT) // so that this is not the first adjustment
	port := s.listen(t, s.Client, clientAddr[IPv4])
	offers := 2
	if taken {
		offers++
		other := netip.AddrPortFrom(client2Addr[IPv4], addrOf(port.Addr()).Port())
		s.Talk(t, ln, s.Client2, IPv4).AnnounceText(PORT, other)
	}
	line := "PORT " + argument(PORT, addrOf(port.Addr()))
	fw.LoadRules(t, "table inet lossy { chain post { type filter hook postrouting priority 200; policy accept; "+
		"oifname \"out0\" tcp dport 21 @ih,0,32 0x504f5254 counter drop; }; }") // PORT
	if _, err := io.WriteString(talk.Client, line+"\r\n"); err != nil {
		t.Fatal(err)
	}
	lost := func() bool { return strings.Count(s.Daemons[0].Output(), `msg="pinhole opened"`) == offers }
	if err := waitFor(startTimeout, "offer", lost); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	fw.LoadRules(t, "delete table inet lossy")
	talk.Server.SetReadDeadline(time.Now().Add(2 * lineTimeout))
	got, err := talk.heardByServer.ReadString('\n')
	if err != nil {
		t.Fatalf("the repeated command: received %q, %v", got, err)
	}
	to, err := parseCommand(strings.TrimRight(got, "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	offer := &Offer{To: to, Opener: s.Server, listener: port}
	go offer.serve()
	talk.Reply("200 PORT command successful")
	offer.MustOpen(t)
	s.echo(t, talk, "after the repetition")
	talk.Announce(PORT).MustOpen(t)
}

func (s *Site) listen(t *testing.T, h *Host, a interface{ String() string }) *net.TCPListener {
	t.Helper()
	ln, err := h.Listen(mustAddrPort(a.String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}
