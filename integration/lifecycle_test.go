// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lifecycleSite is masquerade: the daemon installs rules in an administrator's
// chain and for NAT there.
func lifecycleSite(t *testing.T, s Subject, a Allow, kind string) *Site {
	t.Helper()
	needDaemon(t)
	site := NewSiteOnly(t, position("masquerade"), a, s)
	site.Case(Case{Kind: kind}).Count(t)
	return site
}

// transfer moves a file through the site, and returns why it failed.
func (s *Site) transfer(server *Server, m Mode, timeout time.Duration) error {
	_, err := Job{Client: Ftplib, From: s.ClientHost(), Dial: s.Dial(s.ClientHost(), IPv4, 0), Server: server,
		Mode: m, Size: smallFile, Timeout: timeout}.Do()
	return err
}

// mustTransfer transfers in both modes.
func (s *Site) mustTransfer(t *testing.T, server *Server) {
	t.Helper()
	for _, m := range []Mode{PORT, PASV} {
		if err := s.transfer(server, m, 0); err != nil {
			t.Errorf("transfer with %s: %v", m, err)
		}
	}
}

// counters match what differs between two listings of an unchanged ruleset.
var counters = regexp.MustCompile(`packets \d+ bytes \d+|expires \S+`)

func (h *Host) rulesWithoutCounters(t *testing.T) string {
	t.Helper()
	return counters.ReplaceAllString(h.Rules(t), "")
}

// TestStop: a stopped daemon leaves the ruleset as it was, and an established
// transfer runs to its end.
func TestStop(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		for _, a := range []Allow{AllowRelated, AllowChain} {
			for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
				t.Run(s.Name+"/"+string(a)+"/"+signal.String(), func(t *testing.T) {
					t.Parallel()
					site := lifecycleSite(t, s, a, "stop")
					site.testStop(t, signal)
				})
			}
		}
	}
}

func (s *Site) testStop(t *testing.T, signal syscall.Signal) {
	fw := s.Firewalls[0]
	before := fw.rulesWithoutCounters(t)
	s.StartSubject(t)
	if fw.rulesWithoutCounters(t) == before {
		t.Fatal("a running daemon has added no rules")
	}
	d := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
	running := d.Announce(PORT).MustOpen(t)
	unused := d.Announce(PASV)
	if status, err := s.Daemons[0].Stop(signal); err != nil || status != 0 {
		t.Errorf("after %v: exit status %d, %v", signal, status, err)
	}
	if after := fw.rulesWithoutCounters(t); after != before {
		t.Errorf("ruleset after the stop is\n%s\nand was\n%s", after, before)
	}
	// Bytes continue to flow in the direction that the announcing end reads.
	if _, err := running.Write(make([]byte, 100_000)); err != nil {
		t.Errorf("established transfer after the stop: %v", err)
	}
	if err := running.CloseWrite(); err != nil {
		t.Error(err)
	}
	running.SetReadDeadline(time.Now().Add(openTimeout))
	if _, err := io.Copy(io.Discard, running); err != nil {
		t.Errorf("established transfer after the stop: %v", err)
	}
	unused.MustRefuse(t, unused.Opener, "after the stop")
	if got := d.Command("NOOP"); got != "NOOP" {
		t.Errorf("after the stop the server received %q", got)
	}
}

// TestCrash: the next daemon replaces what a killed one left, and no control
// connection hangs meanwhile.
func TestCrash(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		for _, a := range []Allow{AllowRelated, AllowChain} {
			t.Run(s.Name+"/"+string(a), func(t *testing.T) {
				t.Parallel()
				site := lifecycleSite(t, s, a, "crash")
				fw := site.Firewalls[0]
				before := fw.rulesWithoutCounters(t)
				server := site.StartServer(t, Pyftpdlib)
				first := site.StartDaemon(t, fw)
				installed := fw.rulesWithoutCounters(t)
				if err := first.Crash(); err != nil {
					t.Fatal(err)
				}
				if err := site.transfer(server, PASV, 2*time.Second); err == nil {
					t.Error("without a daemon a transfer succeeded")
				}
				second := site.StartDaemon(t, fw)
				if again := fw.rulesWithoutCounters(t); again != installed {
					t.Errorf("rules of the second daemon are\n%s\nand of the first\n%s", again, installed)
				}
				site.mustTransfer(t, server)
				if _, err := second.Stop(syscall.SIGTERM); err != nil {
					t.Error(err)
				}
				if after := fw.rulesWithoutCounters(t); after != before {
					t.Errorf("ruleset in the end is\n%s\nand was\n%s", after, before)
				}
			})
		}
	}
}

// TestSecondDaemon: a daemon that wants the table or the queue of a running one
// exits, says which, and does not disturb it.
func TestSecondDaemon(t *testing.T) {
	for name, c := range map[string]struct {
		flags []string
		says  string
	}{
		"same table": {[]string{"--queue-num", "3000"}, "table"},
		"same queue": {[]string{"--table", "other"}, "queue"},
		"same both":  {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := lifecycleSite(t, Expectation, AllowChain, "second daemon")
			site.StartSubject(t)
			server := site.StartServer(t, Pyftpdlib)
			fw := site.Firewalls[0]
			before := fw.rulesWithoutCounters(t)
			command, _ := site.DaemonCommand(t, fw, append(c.flags, "--control-socket", filepath.Join(fw.Dir, "second.sock"))...)
			p, err := fw.Start(command)
			if err != nil {
				t.Fatal(err)
			}
			status, err := p.Wait(startTimeout)
			if err != nil || status != 1 {
				t.Errorf("exit status %d, %v, want 1", status, err)
			}
			if out := p.Output(); !strings.Contains(out, c.says) || strings.Contains(out, "msg=ready") {
				t.Errorf("the second daemon printed %q, want %q in it", out, c.says)
			}
			if after := fw.rulesWithoutCounters(t); after != before {
				t.Errorf("ruleset after the second daemon\n%s\nbefore\n%s", after, before)
			}
			site.mustTransfer(t, server)
		})
	}
}

// TestTwoDaemons: with separate tables and queues two daemons run side by side,
// and each serves its own ports.
func TestTwoDaemons(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			p := position("control-ports")
			p.Dialled, p.Ports = []uint16{21, 2121}, "21"
			site := NewSiteOnly(t, p, AllowRelated, s)
			site.Case(Case{Kind: "two daemons"}).Count(t)
			fw := site.Firewalls[0]
			before := fw.rulesWithoutCounters(t)
			first := site.StartDaemon(t, fw)
			site.Position.Ports = "2121"
			second := site.StartDaemon(t, fw, "--table", "other", "--queue-num", "4000",
				"--control-socket", filepath.Join(fw.Dir, "other.sock"))
			server := site.StartServer(t, Pyftpdlib)
			site.eachPort(t, server, nil)
			if _, err := second.Stop(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			site.eachPort(t, server, []uint16{2121})
			if _, err := first.Stop(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if after := fw.rulesWithoutCounters(t); after != before {
				t.Errorf("ruleset in the end is\n%s\nand was\n%s", after, before)
			}
		})
	}
}

// eachPort transfers with each control port in both modes; on the dead ports that
// must fail.
func (s *Site) eachPort(t *testing.T, server *Server, dead []uint16) {
	t.Helper()
	for i, port := range s.Position.dialled() {
		for _, m := range []Mode{EPRT, EPSV} {
			j := Job{Client: Ftplib, From: s.Client, Dial: s.Dial(s.Client, IPv4, i), Server: server, Mode: m, Size: smallFile}
			wantError := slices.Contains(dead, port)
			if wantError {
				j.Timeout = 1500 * time.Millisecond
			}
			if out, err := j.Do(); (err != nil) != wantError {
				t.Errorf("port %d, %s: %v, want an error: %t\n%s", port, m, err, wantError, out)
			}
		}
	}
}

// TestKernelHelper: where the administrator's rules attach the in-kernel ftp
// helper, the daemon leaves the session alone and reports that, and FTP works
// with the helper.
func TestKernelHelper(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := lifecycleSite(t, s, AllowRelated, "beside the kernel helper")
			fw := site.Firewalls[0]
			// At conntrack's own hook, before ours: the first helper wins.
			fw.LoadRules(t, strings.ReplaceAll(kernelHelperRules(site.Position, AllowRelated), "priority mangle", "priority -199"))
			site.StartSubject(t)
			server := site.StartServer(t, Vsftpd)
			site.mustTransfer(t, server)
			if err := site.Daemons[0].WaitLog(startTimeout, "helper"); err != nil {
				t.Error(err)
			}
			if out := site.Daemons[0].Output(); strings.Contains(out, "pinhole opened") {
				t.Errorf("the daemon opened a pinhole:\n%s", out)
			}
			server.Stop()
			d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			d.Announce(PORT).MustOpen(t)
			list, err := site.Daemons[0].Sessions()
			if err != nil {
				t.Fatal(err)
			}
			aside := slices.ContainsFunc(list, func(o Object) bool {
				note, _ := o["note"].(string)
				return strings.Contains(note, "helper")
			})
			if !aside {
				t.Errorf("no session has a note about the helper: %v", list)
			}
		})
	}
}
