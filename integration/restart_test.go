// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

// restart ends the daemon of the first firewall and starts another.
func (s *Site) restart(t *testing.T, flags ...string) *Daemon {
	t.Helper()
	s.end(t)
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

// end ends the daemon of the first firewall by the site's signal. A daemon that
// is asked to stop must leave nothing in the kernel.
func (s *Site) end(t *testing.T) {
	t.Helper()
	if s.ending == 0 || s.ending == syscall.SIGKILL {
		s.crash(t)
		return
	}
	if status, err := s.Daemons[0].Stop(s.ending); status != 0 || err != nil {
		t.Fatalf("exit status %d, %v", status, err)
	}
	s.mustBeEmpty(t)
}

// mustBeEmpty checks that nothing of ours is in the kernel.
func (s *Site) mustBeEmpty(t *testing.T) {
	t.Helper()
	out, err := s.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-L", "expect"))
	if err != nil || strings.Contains(out, "dport=") {
		t.Errorf("expectations: %v\n%s", err, out)
	}
	if rules := s.Firewalls[0].Rules(t); strings.Contains(rules, "pasvport") {
		t.Errorf("rules are left:\n%s", rules)
	}
}

// eachRestart runs a test with both strategies and both ways to end a daemon,
// with client and server translated, so that all texts change.
func eachRestart(t *testing.T, a Allow, f func(*testing.T, *Site)) {
	for _, s := range []Subject{Expectation, Claim} {
		for _, ending := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			t.Run(s.Name+"/"+ending.String(), func(t *testing.T) {
				t.Parallel()
				needDaemon(t)
				site := NewSite(t, position("both-nat"), a, s)
				site.ending = ending
				site.Case(Case{Kind: "restart"}).Count(t)
				f(t, site)
			})
		}
	}
}

// TestRestartBetweenOfferAndConnection: announced before the end, opened after
// the restart. A claim needs the daemon: its SYN is retransmitted until there is
// one.
func TestRestartBetweenOfferAndConnection(t *testing.T) {
	for _, a := range []Allow{AllowRelated, AllowMark, AllowChain} {
		for _, m := range []Mode{PASV, PORT, EPSV, EPRT} {
			t.Run(string(a)+"/"+string(m), func(t *testing.T) {
				eachRestart(t, a, func(t *testing.T, s *Site) {
					talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
					offer := talk.Announce(m)
					d := s.restart(t)
					if err := d.WaitLog(startTimeout, `msg="pinhole taken back"`); err != nil {
						t.Error(err)
					}
					offer.MustRefuse(t, s.Third, "somebody else, after the restart")
					offer.MustOpen(t)
					if err := d.WaitLog(startTimeout, `msg="pinhole used"`); err != nil {
						t.Error(err)
					}
					offer.MustRefuse(t, offer.Opener, "a second time, after the restart")
					talk.Exchange()
					talk.Announce(m).MustOpen(t)
				})
			})
		}
	}
}

// TestRestartWhileConnecting: a data connection that is opened while there is no
// daemon at most has to wait for it.
func TestRestartWhileConnecting(t *testing.T) {
	eachRestart(t, AllowChain, func(t *testing.T, s *Site) {
		talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
		offer := talk.Announce(PASV)
		s.end(t)
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

// TestRestartClosesWithSession: pinholes that were taken back close with their
// control connection, and leave nothing.
func TestRestartClosesWithSession(t *testing.T) {
	eachRestart(t, AllowChain, func(t *testing.T, s *Site) {
		talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
		offer := talk.Announce(PASV)
		d := s.restart(t)
		talk.Client.Close()
		talk.Server.Close()
		if err := d.WaitLog(startTimeout, `msg="pinhole closed"`); err != nil {
			t.Error(err)
		}
		offer.MustRefuse(t, offer.Opener, "after the end of the session")
		out, err := s.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-L", "expect"))
		if err != nil || strings.Contains(out, "dport=") {
			t.Errorf("expectations: %v\n%s", err, out)
		}
		if rules := s.Firewalls[0].Rules(t); openElements(rules) > 0 {
			t.Errorf("elements are left:\n%s", rules)
		}
	})
}

// TestRestartBetweenQuestionAndAnswer: one daemon reads PASV, the next its reply.
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
		if s.ending == syscall.SIGKILL { // nothing was handed over, so the daemon can only guess that the reply's line starts there
			offer.MustRefuse(t, opener, "in a line whose start is a guess")
			offer = talk.Announce(PASV)
		}
		offer.MustOpen(t)
	})
}

// TestRestartDuringTransfer: bytes flow before, during and after the restart, and
// the daemon knows the session and its data connection again.
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
			s.end(t)
			send("without a daemon")
			if got := talk.Command("NOOP"); got != "NOOP" {
				t.Errorf("without a daemon the server received %q", got)
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
		talk.Exchange()
		talk.Announce(PORT).MustOpen(t)
	})
}

// TestFailOpenAndClosed: what happens to control packets between crash and
// restart.
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

// TestTakenUp: the daemon does not know where a line starts in a session that it
// picks up midstream. The first announcement passes and opens nothing; what comes
// after it, or after any command and its reply, opens.
func TestTakenUp(t *testing.T) {
	for _, first := range []string{"PASV", "PORT", "NOOP"} {
		for _, where := range []string{"routed", "both-nat"} {
			t.Run(first+"/"+where, func(t *testing.T) {
				t.Parallel()
				needDaemon(t)
				s := NewSite(t, position(where), AllowRelated, Auto)
				s.Case(Case{Kind: "restart"}).Count(t)
				talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
				talk.Announce(PASV).MustOpen(t)
				s.crash(t)
				s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0])
				begun, refused := time.Now(), time.Duration(0)
				if first == "NOOP" {
					talk.Exchange()
				} else {
					m := map[string]Mode{"PASV": PASV, "PORT": PORT}[first]
					o := talk.Announce(m)
					if m == PORT {
						talk.Reply("200 ok")
					}
					t.Logf("announced %v", o.To)
					if err := s.Daemons[0].WaitLog(openTimeout, "translated="+o.To.String()+" reason=line-start-unknown"); err != nil {
						t.Error(err)
					}
					tried := time.Now()
					o.MustRefuse(t, o.Opener, "it is a guess that its line starts there")
					refused = time.Since(tried)
				}
				t.Logf("the next announcement opens after %v", time.Since(begun)-refused)
				talk.Announce(PASV).MustOpen(t)
				talk.Announce(PORT).MustOpen(t)
			})
		}
	}
}

// TestRestartWithoutDaemonBetween: control connections survive the time without a
// daemon, and are taken back.
func TestRestartWithoutDaemonBetween(t *testing.T) {
	eachRestart(t, AllowRelated, func(t *testing.T, s *Site) {
		talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
		data := talk.Announce(PORT).MustOpen(t)
		s.end(t)
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

// TestRestartOtherTable: a daemon that restarts with another table name removes
// what it left under the old one, also in the administrator's chains. Otherwise
// rules that drop without a daemon would stay for good.
func TestRestartOtherTable(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	s := NewSite(t, position("both-nat"), AllowChain, Expectation, "--fail", "closed")
	s.crash(t)
	s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0], "--table", "other")
	if err := s.Daemons[0].WaitLog(startTimeout, `msg="tables of an earlier daemon removed" tables=[pasvport]`); err != nil {
		t.Error(err)
	}
	rules := s.Firewalls[0].Rules(t)
	if strings.Contains(rules, "table inet pasvport ") || strings.Contains(rules, `"pasvport pasvport"`) {
		t.Errorf("what the earlier daemon left is still there:\n%s", rules)
	}
	talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
	for _, m := range []Mode{PASV, PORT} {
		talk.Announce(m).MustOpen(t)
	}
	if status, err := s.Daemons[0].Stop(syscall.SIGTERM); status != 0 || err != nil {
		t.Fatalf("exit status %d, %v", status, err)
	}
	s.mustBeEmpty(t)
}
