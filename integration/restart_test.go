// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// restart kills the daemon of the first firewall and starts another.
func (s *Site) restart(t *testing.T, flags ...string) *Daemon {
	t.Helper()
	s.crash(t)
	d := s.StartDaemon(t, s.Firewalls[0], flags...)
	s.Daemons[0] = d
	return d
}

func (s *Site) crash(t *testing.T) {
	t.Helper()
	if err := s.Daemons[0].Crash(); err != nil {
		t.Fatal(err)
	}
}

// eachRestart runs a test with both strategies where client and server are
// translated, so that all texts change.
func eachRestart(t *testing.T, a Allow, f func(*testing.T, *Site)) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			site := NewSite(t, position("both-nat"), a, s)
			site.Case(Case{Kind: "restart"}).Count(t)
			f(t, site)
		})
	}
}

// TestRestartBetweenOfferAndConnection: announced before the crash, opened
// before or after the return. A claim needs the daemon: its SYN is repeated
// until there is one.
func TestRestartBetweenOfferAndConnection(t *testing.T) {
	for _, a := range []Allow{AllowRelated, AllowChain} {
		for _, m := range []Mode{PASV, PORT, EPSV, EPRT} {
			t.Run(string(a)+"/"+string(m), func(t *testing.T) {
				eachRestart(t, a, func(t *testing.T, s *Site) {
					talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
					offer := talk.Announce(m)
					d := s.restart(t)
					if err := d.WaitLog(5*time.Second, `msg="pinhole taken back"`); err != nil {
						t.Error(err)
					}
					offer.MustRefuse(t, s.Third, "somebody else, after the restart")
					offer.MustOpen(t)
					if err := d.WaitLog(5*time.Second, `msg="pinhole used"`); err != nil {
						t.Error(err)
					}
					offer.MustRefuse(t, offer.Opener, "a second time, after the restart")
					talk.Announce(m).MustOpen(t)
				})
			})
		}
	}
}

// TestRestartWhileConnecting: the data connection is opened while there is no
// daemon, and waits for it at most.
func TestRestartWhileConnecting(t *testing.T) {
	eachRestart(t, AllowChain, func(t *testing.T, s *Site) {
		talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
		offer := talk.Announce(PASV)
		s.crash(t)
		opened := make(chan error, 1)
		go func() {
			c, err := offer.Connect(offer.Opener, 2*openTimeout)
			if err == nil {
				c.Close()
			}
			opened <- err
		}()
		s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0])
		if err := <-opened; err != nil {
			t.Errorf("data connection: %v", err)
		}
	})
}

// TestRestartClosesWithSession: what was taken back closes when the control
// connection does, and leaves nothing.
func TestRestartClosesWithSession(t *testing.T) {
	eachRestart(t, AllowChain, func(t *testing.T, s *Site) {
		talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
		offer := talk.Announce(PASV)
		d := s.restart(t)
		talk.Client.Close()
		talk.Server.Close()
		if err := d.WaitLog(2*time.Second, `msg="pinhole closed"`); err != nil {
			t.Error(err)
		}
		offer.MustRefuse(t, offer.Opener, "after the end of the session")
		out, err := s.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-L", "expect"))
		if err != nil || strings.Contains(out, "dport=") {
			t.Errorf("expectations: %v\n%s", err, out)
		}
		if rules := s.Firewalls[0].Rules(t); strings.Contains(rules, "expires") {
			t.Errorf("elements are left:\n%s", rules)
		}
	})
}

// TestRestartBetweenQuestionAndAnswer: PASV was read by the one daemon, its
// answer comes to the next.
func TestRestartBetweenQuestionAndAnswer(t *testing.T) {
	eachRestart(t, AllowRelated, func(t *testing.T, s *Site) {
		talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
		host, addr, opener := talk.listensAt(PASV)
		talk.Command("PASV")
		s.restart(t)
		a := s.listen(t, host, addr)
		offer := &Offer{Opener: opener, listener: a}
		go offer.serve()
		to, err := parseCommand("PORT " + numbers(talk.Reply("227 Entering Passive Mode ("+argument(PORT, addrOf(a.Addr()))+").")))
		if err != nil {
			t.Fatal(err)
		}
		offer.To = to
		offer.MustOpen(t)
	})
}

// TestRestartDuringTransfer: bytes flow before, between and after, and the
// session and its data connection are known again.
func TestRestartDuringTransfer(t *testing.T) {
	eachRestart(t, AllowRelated, func(t *testing.T, s *Site) {
		talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
		data := talk.Announce(PASV).MustOpen(t)
		send := func(when string) {
			t.Helper()
			data.SetWriteDeadline(time.Now().Add(openTimeout))
			if _, err := data.Write(make([]byte, 1<<20)); err != nil {
				t.Fatalf("transfer %s: %v", when, err)
			}
		}
		for i := range 3 {
			send("before")
			s.crash(t)
			send("without a daemon")
			if got := talk.Command("NOOP"); got != "NOOP" {
				t.Errorf("without a daemon the server heard %q", got)
			}
			talk.Reply("200 ok")
			d := s.StartDaemon(t, s.Firewalls[0])
			s.Daemons[0] = d
			send("after")
			sessions, err := d.Sessions()
			if err != nil || len(sessions) != 1 {
				t.Fatalf("restart %d: sessions %v, %v", i, sessions, err)
			}
			if n := sessions[0]["data"].(Object)["connections"]; n != 1.0 {
				t.Errorf("restart %d: %v data connections in %v", i, n, sessions[0])
			}
		}
		if err := data.CloseWrite(); err != nil {
			t.Error(err)
		}
		data.SetReadDeadline(time.Now().Add(openTimeout))
		if _, err := io.Copy(io.Discard, data); err != nil {
			t.Errorf("end of the transfer: %v", err)
		}
		talk.Announce(PORT).MustOpen(t)
	})
}

// TestRestartAdjusted: commands whose length changed came before the crash, and
// come after it, from either daemon and without one.
func TestRestartAdjusted(t *testing.T) {
	for _, from := range []string{"client", "client2"} { // whose texts grow and shrink
		t.Run(from, func(t *testing.T) {
			eachRestart(t, AllowRelated, func(t *testing.T, s *Site) {
				h := map[string]*Host{"client": s.Client, "client2": s.Client2}[from]
				talk := s.Talk(t, s.ListenControl(t, IPv4), h, IPv4)
				for range 3 {
					for range 4 {
						talk.Announce(PORT)
						talk.Announce(EPRT)
					}
					s.crash(t)
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

// TestRestartAdjustedHere: the control connection is older than the first
// daemon, so the kernel does not adjust it. Without a daemon it waits.
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

// waits has the client say something that must arrive after f and not before.
func (s *Site) waits(t *testing.T, talk *Dialogue, f func()) {
	t.Helper()
	if _, err := io.WriteString(talk.Client, "NOOP held\r\n"); err != nil {
		t.Fatal(err)
	}
	talk.Server.SetReadDeadline(time.Now().Add(refusedTimeout))
	if got, err := talk.heardByServer.ReadString('\n'); err == nil {
		t.Errorf("without a daemon the server heard %q", got)
	}
	f()
	talk.Server.SetReadDeadline(time.Now().Add(2 * lineTimeout))
	if got, err := talk.heardByServer.ReadString('\n'); err != nil || got != "NOOP held\r\n" {
		t.Errorf("with a daemon again the server heard %q, %v", got, err)
	}
}

// echo has both ends say something that must arrive as it was said.
func (s *Site) echo(t *testing.T, talk *Dialogue, when string) {
	t.Helper()
	for i := range 3 {
		command, reply := fmt.Sprintf("NOOP %d", i), fmt.Sprintf("200 %d %s", i, strings.Repeat("x", i*50))
		if got := talk.Command(command); got != command {
			t.Errorf("%s the server heard %q for %q", when, got, command)
		}
		if got := talk.Reply(reply); got != reply {
			t.Errorf("%s the client heard %q for %q", when, got, reply)
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

// testRepeatedEdit: where another client has announced the same port, the one
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
	if err := waitFor(5*time.Second, "offer", lost); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	fw.LoadRules(t, "delete table inet lossy")
	talk.Server.SetReadDeadline(time.Now().Add(2 * lineTimeout))
	got, err := talk.heardByServer.ReadString('\n')
	if err != nil {
		t.Fatalf("the repeated command: heard %q, %v", got, err)
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

// TestFailOpenAndClosed: what control packets meet between death and return.
func TestFailOpenAndClosed(t *testing.T) {
	for _, fail := range []string{"open", "closed"} {
		t.Run(fail, func(t *testing.T) {
			for _, s := range []Subject{Expectation, Claim} {
				t.Run(s.Name, func(t *testing.T) {
					t.Parallel()
					needDaemon(t)
					site := NewSite(t, position("both-nat"), AllowRelated, s, "--fail", fail)
					site.Case(Case{Kind: "fail " + fail}).Count(t)
					site.testFail(t, fail)
				})
			}
		})
	}
}

func (s *Site) testFail(t *testing.T, fail string) {
	talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
	talk.Announce(PORT)
	s.crash(t)
	if fail == "open" {
		s.echo(t, talk, "without a daemon")
		s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0], "--fail", fail)
	} else {
		s.waits(t, talk, func() { s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0], "--fail", fail) })
	}
	s.echo(t, talk, "with a daemon again")
	talk.Announce(PORT).MustOpen(t)
	talk.Announce(PASV).MustOpen(t)
}

// TestStopAndStart: control connections live through a stop, during which
// nobody reads them, and are taken back.
func TestStopAndStart(t *testing.T) {
	eachRestart(t, AllowRelated, func(t *testing.T, s *Site) {
		talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
		data := talk.Announce(PORT).MustOpen(t)
		if status, err := s.Daemons[0].Stop(syscall.SIGTERM); status != 0 || err != nil {
			t.Fatalf("exit status %d, %v", status, err)
		}
		s.echo(t, talk, "while stopped")
		d := s.StartDaemon(t, s.Firewalls[0])
		s.Daemons[0] = d
		if sessions, err := d.Sessions(); err != nil || len(sessions) != 1 {
			t.Errorf("sessions %v, %v", sessions, err)
		}
		s.echo(t, talk, "after the start")
		if _, err := data.Write(make([]byte, 100_000)); err != nil {
			t.Error(err)
		}
		talk.Announce(PORT).MustOpen(t)
	})
}
