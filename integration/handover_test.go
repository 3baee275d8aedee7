// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// handovers are the files that a stopped daemon left on the first firewall.
func (s *Site) handovers(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Firewalls[0].Dir, "*.handover*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestHandover: a stop with an open pinhole leaves a file that only its user can
// read; it serves one start and one data connection, and never extends the
// pinhole's lifetime.
func TestHandover(t *testing.T) {
	for _, subject := range []Subject{Expectation, Claim} {
		t.Run(subject.Name, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			s := NewSite(t, position("both-nat"), AllowChain, subject, "--pinhole-timeout", "8s")
			s.Case(Case{Kind: "restart"}).Count(t)
			s.ending = syscall.SIGTERM
			talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
			s.restart(t)
			if files := s.handovers(t); len(files) > 0 {
				t.Errorf("nothing was open, but %v exists", files)
			}
			offer := talk.Announce(PASV)
			s.end(t)
			files := s.handovers(t)
			if len(files) != 1 {
				t.Fatalf("files %v, want one", files)
			}
			if info, err := os.Stat(files[0]); err != nil || info.Mode() != 0o600 {
				t.Errorf("%v, %v, want mode 0600", info.Mode(), err)
			}
			offer.MustRefuse(t, offer.Opener, "while stopped")
			s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0], "--pinhole-timeout", "8s")
			if files := s.handovers(t); len(files) > 0 {
				t.Errorf("after the start %v still exists", files)
			}
			offer.MustOpen(t)
			offer.MustRefuse(t, offer.Opener, "a second time")

			offer = talk.Announce(PASV)
			announced := time.Now()
			s.restart(t)
			if err := s.Daemons[0].WaitLog(time.Until(announced.Add(8*time.Second+startTimeout)), `msg="pinhole expired"`); err != nil {
				t.Error(err)
			}
			if early := 7*time.Second - time.Since(announced); early > 0 {
				t.Errorf("expired %v too early", early)
			}
			offer.MustRefuse(t, offer.Opener, "after its time")
		})
	}
}

var conntrackID = regexp.MustCompile(`"ID":\d+`)

// TestHandoverRefused: a file that others may have written is rejected, and so is
// a record that fits no control connection.
func TestHandoverRefused(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"readable by all": func(p string) error { return os.Chmod(p, 0o644) },
		"another's":       func(p string) error { return os.Chown(p, 65534, -1) },
		"a symbolic link": func(p string) error { return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p)) },
		"two names":       func(p string) error { return os.Link(p, p+".real") },
		"half":            func(p string) error { return os.Truncate(p, 100) },
		"a FIFO":          func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600)) },
		"another session": func(p string) error {
			text, err := os.ReadFile(p)
			return errors.Join(err, os.WriteFile(p, conntrackID.ReplaceAll(text, []byte(`"ID":7`)), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			s := NewSite(t, position("both-nat"), AllowChain, Expectation)
			s.ending = syscall.SIGTERM
			talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
			offer := talk.Announce(PASV)
			s.end(t)
			files := s.handovers(t)
			if len(files) != 1 {
				t.Fatalf("files %v, want one", files)
			}
			if err := spoil(files[0]); err != nil {
				t.Fatal(err)
			}
			d := s.StartDaemon(t, s.Firewalls[0])
			s.Daemons[0] = d
			offer.MustRefuse(t, offer.Opener, "from a file that is not to be believed")
			if said := strings.Contains(d.Output(), "not taken over from the daemon before"); said != (name != "another session") {
				t.Errorf("the log reports the file: %t\n%s", said, d.Output())
			}
			talk.Exchange()
			talk.Announce(PASV).MustOpen(t)
		})
	}
}

var (
	handedTarget = regexp.MustCompile(`"Target":"[^"]*"`)
	handedPublic = regexp.MustCompile(`"Public":"[^"]*"`)
	handedSource = regexp.MustCompile(`"Source":"[^"]*"`)
)

// TestHandoverJudged: what was handed over is judged like a new offer. A file
// forged by another process of the same user opens neither a port of a third host
// nor a service's port.
func TestHandoverJudged(t *testing.T) {
	third := netip.MustParseAddrPort("10.7.0.99:22").String()
	for name, forge := range map[string]func(text []byte) []byte{
		"a third host's port 22": func(b []byte) []byte { return handedTarget.ReplaceAll(b, []byte(`"Target":"`+third+`"`)) },
		"a third host's port 22, dialled": func(b []byte) []byte {
			return handedPublic.ReplaceAll(handedTarget.ReplaceAll(b, []byte(`"Target":"`+third+`"`)), []byte(`"Public":"`+third+`"`))
		},
		"port 22 of the firewall": func(b []byte) []byte {
			return regexp.MustCompile(`("Public":"[^"]*):\d+"`).ReplaceAll(b, []byte(`$1:22"`))
		},
		"port 22 of the server": func(b []byte) []byte {
			return regexp.MustCompile(`("Target":"[^"]*):\d+"`).ReplaceAll(b, []byte(`$1:22"`))
		},
		"a third client":    func(b []byte) []byte { return handedSource.ReplaceAll(b, []byte(`"Source":"198.51.100.99"`)) },
		"the policy of now": func(b []byte) []byte { return b },
	} {
		for _, subject := range []Subject{Expectation, Claim} {
			t.Run(name+"/"+subject.Name, func(t *testing.T) {
				t.Parallel()
				needDaemon(t)
				s := NewSite(t, position("both-nat"), AllowChain, subject)
				s.ending = syscall.SIGTERM
				talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
				offer := talk.Announce(PASV)
				s.end(t)
				files := s.handovers(t)
				if len(files) != 1 {
					t.Fatalf("files %v, want one", files)
				}
				text, err := os.ReadFile(files[0])
				if err != nil {
					t.Fatal(err)
				}
				forged := forge(text)
				var flags []string
				if name == "the policy of now" {
					flags = []string{"--min-data-port", "65535"}
				} else if bytes.Equal(forged, text) {
					t.Fatalf("nothing was forged in %s", text)
				}
				if err := os.WriteFile(files[0], forged, 0o600); err != nil {
					t.Fatal(err)
				}
				d := s.StartDaemon(t, s.Firewalls[0], flags...)
				s.Daemons[0] = d
				if err := d.WaitLog(openTimeout, `msg="cannot take back all of an earlier daemon's sessions"`); err != nil {
					t.Error(err)
				}
				offer.MustRefuse(t, offer.Opener, "from a forged file")
				if rules := s.Firewalls[0].Rules(t); openElements(rules) > 0 {
					t.Errorf("something is open:\n%s", rules)
				}
				out, err := s.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-L", "expect"))
				if err != nil || strings.Contains(out, "dport=") {
					t.Errorf("expectations: %v\n%s", err, out)
				}
			})
		}
	}
}

// TestHandoverRepeatedSYN: the first SYN of the data connection passed before the
// stop, and was lost behind the firewall; the retransmitted one passes after it.
func TestHandoverRepeatedSYN(t *testing.T) {
	for _, subject := range []Subject{Expectation, Claim} {
		t.Run(subject.Name, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			s := NewSite(t, position("both-nat"), AllowChain, subject)
			s.Case(Case{Kind: "restart"}).Count(t)
			s.ending = syscall.SIGTERM
			server := s.ServerHost()
			offer := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4).Announce(PASV)
			server.LoadRules(t, "table ip lossy { chain in { type filter hook input priority 0; policy accept; "+
				"tcp dport != 21 tcp flags & (syn | ack) == syn counter drop; }; }")
			opened := make(chan error, 1)
			go func() {
				c, err := offer.Connect(offer.Opener, 2*openTimeout)
				if err == nil {
					c.Close()
				}
				opened <- err
			}()
			if err := s.Daemons[0].WaitLog(openTimeout, `msg="pinhole used"`); err != nil {
				t.Fatal(err)
			}
			s.restart(t)
			server.LoadRules(t, "delete table ip lossy")
			if err := <-opened; err != nil {
				t.Errorf("data connection: %v", err)
			}
		})
	}
}

// TestHandoverAdjustedHere: a control connection whose sequence numbers the
// daemon adjusts continues after a stop if neither end accepted anything
// meanwhile. Otherwise it is reset: what that end accepted is incomplete or
// duplicated.
func TestHandoverAdjustedHere(t *testing.T) {
	for _, from := range []string{"client", "client2"} { // texts grow and shrink
		for _, meanwhile := range []string{"quiet", "not quiet", "not quiet, repeats", "not quiet, not taken"} {
			if from == "client" && strings.HasPrefix(meanwhile, "not quiet, ") {
				continue // the server accepts part of it, so there is nothing to retransmit
			}
			t.Run(from+"/"+meanwhile, func(t *testing.T) {
				t.Parallel()
				needDaemon(t)
				s := NewSiteOnly(t, position("both-nat"), AllowRelated, Claim)
				s.Case(Case{Kind: "restart"}).Count(t)
				s.ending = syscall.SIGTERM
				h := map[string]*Host{"client": s.Client, "client2": s.Client2}[from]
				talk := s.Talk(t, s.ListenControl(t, IPv4), h, IPv4)
				s.StartSubject(t)
				s.adjustHere(t, talk)
				switch meanwhile {
				case "quiet":
					s.testHandoverQuiet(t, talk)
				case "not quiet, not taken":
					s.testHandoverNotTaken(t, talk)
				default:
					s.testHandoverTaken(t, talk, meanwhile == "not quiet, repeats")
				}
			})
		}
	}
}

// adjustHere makes the daemon adjust a session that is older than it.
func (s *Site) adjustHere(t *testing.T, talk *Dialogue) {
	t.Helper()
	talk.Exchange()
	for range 3 {
		talk.Announce(PORT).MustOpen(t).Close()
		talk.Announce(EPRT)
	}
	if !strings.Contains(s.Daemons[0].Output(), "adjusting sequence numbers here") {
		t.Skip("the kernel adjusts a connection that is older than the daemon")
	}
}

func (s *Site) testHandoverQuiet(t *testing.T, talk *Dialogue) {
	for range 2 {
		offer := talk.Announce(PASV)
		s.restart(t)
		offer.MustOpen(t)
		s.echo(t, talk, "after the restart")
		talk.Announce(PORT).MustOpen(t)
	}
}

const unadjusted = "NOOP and many words, so that the server takes a part of it"

// testHandoverTaken: the client sends while there is no daemon, and the server
// accepts the bytes at the wrong place. The last announcement keeps its length:
// if it grew, the client would acknowledge more than the server has sent, and the
// server would drop its segment.
func (s *Site) testHandoverTaken(t *testing.T, talk *Dialogue, repeats bool) {
	talk.Announce(EPSV)
	s.end(t)
	if _, err := io.WriteString(talk.Client, unadjusted+"\r\n"); err != nil {
		t.Fatal(err)
	}
	s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0])
	for name, end := range map[string]struct {
		net.Conn
		heard io.Reader
	}{"client": {talk.Client, talk.heardByClient}, "server": {talk.Server, talk.heardByServer}} {
		_ = end.SetDeadline(time.Now().Add(startTimeout))
		var said error // an error is reported once
		if !repeats {
			_, said = io.WriteString(end, "NOOP\r\n")
		}
		if _, err := io.Copy(io.Discard, end.heard); !errors.Is(errors.Join(said, err), syscall.ECONNRESET) {
			t.Errorf("%s: %v, %v, want a reset", name, said, err)
		}
	}
}

// testHandoverNotTaken: the client sends while there is no daemon, and
// acknowledges more than the server has sent, as the last announcement grew. The
// server drops that (RFC 9293 section 3.10.7.4), so the session is in step when
// the client retransmits.
func (s *Site) testHandoverNotTaken(t *testing.T, talk *Dialogue) {
	offer := talk.Announce(PASV)
	talk.acknowledged(t)
	s.end(t)
	if _, err := io.WriteString(talk.Client, unadjusted+"\r\n"); err != nil {
		t.Fatal(err)
	}
	s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0])
	if line, err := hear(talk.Server, talk.heardByServer); line != unadjusted {
		t.Fatalf("the server received %q, %v", line, err)
	}
	s.echo(t, talk, "after the restart")
	offer.MustOpen(t)
	talk.Announce(PORT).MustOpen(t)
}

// acknowledged waits until the client has acknowledged everything from the
// server: the client may delay an acknowledgement by 40 ms.
func (d *Dialogue) acknowledged(t *testing.T) {
	t.Helper()
	raw, err := d.Server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := waitFor(openTimeout, "the client's acknowledgement", func() bool {
		n, ctlErr := 0, error(nil)
		err := raw.Control(func(fd uintptr) { n, ctlErr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		return errors.Join(err, ctlErr) == nil && n == 0
	}); err != nil {
		t.Fatal(err)
	}
}
