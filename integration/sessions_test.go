// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestAllow runs every mode where the ruleset accepts nothing related: with a
// mark, and with pasvport's own rule in the administrator's chains.
func TestAllow(t *testing.T) {
	for _, name := range []string{"routed", "masquerade", "dnat", "both-nat", "server-on-firewall", "client-on-firewall", "two-firewalls-nat"} {
		for _, s := range subjects(t) {
			for _, a := range []Allow{AllowMark, AllowChain} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, s.Name, a), func(t *testing.T) {
					t.Parallel()
					testPosition(t, NewSite(t, position(name), a, s))
				})
			}
		}
	}
}

// TestSamePort: two clients behind one address announce the same port at the same
// time. Each must get its own data connection.
func TestSamePort(t *testing.T) {
	const port = 30000 // below those that the clients dial from
	for _, s := range subjects(t) {
		for f, m := range map[Family]Mode{IPv4: PORT, IPv6: EPRT} {
			t.Run(fmt.Sprintf("%s/%s", s.Name, f), func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position("masquerade"), AllowRelated, s)
				site.Case(Case{Mode: m, Family: f, Kind: "same port twice"}).Count(t)
				ln := site.ListenControl(t, f)
				var offers []*Offer
				for _, h := range []*Host{site.Client, site.Client2} {
					d := site.Talk(t, ln, h, f)
					data, err := h.Listen(netip.AddrPortFrom(d.clientAddr(), port))
					if err != nil {
						t.Fatal(err)
					}
					offers = append(offers, d.AnnounceListener(m, data, site.Server))
				}
				if offers[0].To == offers[1].To {
					t.Fatalf("both clients' ports became %s", offers[0].To)
				}
				offers[1].MustOpen(t)
				offers[0].MustOpen(t)
			})
		}
	}
}

// TestManySessions runs twenty sessions at once with twenty files each, all modes
// mixed. The server is vsftpd: pyftpdlib 1.5.7 closes file descriptors twice in
// active mode, and so loses connections of parallel sessions.
func TestManySessions(t *testing.T) {
	const sessions, files = 20, 20
	for _, name := range []string{"masquerade", "dnat"} {
		for _, s := range subjects(t) {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(name), AllowRelated, s)
				site.Case(Case{Kind: "twenty sessions", Family: IPv4, Server: "vsftpd", Client: "ftplib"}).Count(t)
				site.runScript(t, Vsftpd, IPv4, sessions, files, func(i, j int) (Mode, bool) {
					return IPv4.Modes()[(i+j)%4], (i+j/4)%2 == 0
				})
			})
		}
	}
}

// TestModeSwitches changes the mode with each of a hundred transfers of one
// session, with texts that grow and shrink on the way.
func TestModeSwitches(t *testing.T) {
	for _, name := range []string{"masquerade", "dnat", "both-nat"} {
		for _, s := range subjects(t) {
			for _, f := range position(name).families() {
				t.Run(fmt.Sprintf("%s/%s/%s", name, s.Name, f), func(t *testing.T) {
					t.Parallel()
					site := NewSite(t, position(name), AllowRelated, s)
					if s.Kernel && f == IPv6 {
						t.Skip("the in-kernel helper writes IPv6 addresses in full, pyftpdlib compares texts")
					}
					site.Case(Case{Kind: "hundred mode switches", Family: f, Server: "pyftpdlib", Client: "ftplib"}).Count(t)
					modes := f.Modes()
					site.runScript(t, Pyftpdlib, f, 1, 100, func(_, j int) (Mode, bool) {
						return modes[j%len(modes)], j/len(modes)%2 == 0
					})
				})
			}
		}
	}
}

// runScript transfers a file in each step of each session, in the step's mode and
// direction, and compares each copy.
func (s *Site) runScript(t *testing.T, k *ServerKind, f Family, sessions, steps int, mode func(i, j int) (Mode, bool)) {
	t.Helper()
	Ftplib.Need(t)
	server := s.StartServer(t, k)
	from, dial := s.ClientHost(), s.Dial(s.ClientHost(), f, 0)
	down, err := randomFile(filepath.Join(server.Upload, "down.bin"), smallFile)
	if err != nil {
		t.Fatal(err)
	}
	local := filepath.Join(from.Dir, "up.bin")
	up, err := randomFile(local, smallFile/2)
	if err != nil {
		t.Fatal(err)
	}
	script := Script{Host: dial.Addr().String(), Port: dial.Port(), User: server.User, Password: password, Timeout: 30}
	copies := make(map[string][]byte) // path to hash
	for i := range sessions {
		var all []Step
		for j := range steps {
			m, upload := mode(i, j)
			name := fmt.Sprintf("copy%d-%d.bin", i, j)
			if upload {
				all = append(all, Step{Mode: m, Op: "put", Remote: server.Remote + name, Local: local})
				copies[filepath.Join(server.Upload, name)] = up
			} else {
				path := filepath.Join(from.Dir, name)
				all = append(all, Step{Mode: m, Op: "get", Remote: server.Remote + "down.bin", Local: path})
				copies[path] = down
			}
		}
		script.Sessions = append(script.Sessions, all)
	}
	python, err := Ftplib.program()
	if err != nil {
		t.Skip(err)
	}
	if out, err := from.Run(120*time.Second, script.Command(python)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for path, want := range copies {
		if err := sameFile(path, want); err != nil {
			t.Error(err)
		}
	}
}

// TestOlderSession: a session that was there before the daemon is served.
func TestOlderSession(t *testing.T) {
	needDaemon(t)
	for _, name := range []string{"routed", "masquerade", "dnat"} {
		for _, s := range []Subject{Claim, Auto} {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSiteOnly(t, position(name), AllowRelated, s)
				var olds []func()
				for f, modes := range map[Family][]Mode{IPv4: {PASV, PORT}, IPv6: {EPSV, EPRT}} {
					ln := site.ListenControl(t, f)
					for _, m := range modes {
						d := site.Talk(t, ln, site.Client, f)
						olds = append(olds, func() { site.testOlder(t, d, f, m) })
					}
				}
				site.StartSubject(t)
				for _, f := range olds {
					f()
				}
			})
		}
	}
}

// testOlder announces twice, since the first change of length must not break what
// follows. It starts with a command and its reply: the daemon opens nothing for a
// session that it picks up midstream until it knows where lines start.
func (s *Site) testOlder(t *testing.T, d *Dialogue, f Family, m Mode) {
	t.Run(fmt.Sprintf("%s/%s", f, m), func(t *testing.T) {
		s.Case(Case{Mode: m, Family: f, Kind: "older session"}).Count(t)
		d.t = t
		d.Exchange()
		for range 2 {
			d.Announce(m).MustOpen(t)
			if got := d.Command("NOOP"); got != "NOOP" {
				t.Errorf("the server received %q", got)
			}
			d.Reply("200 fine")
		}
	})
}

// TestSessionsShown compares `sessions` and `status` with what the test knows:
// both ends as each side sees them, the offer, its pinhole, bytes.
func TestSessionsShown(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position("both-nat"), AllowRelated, s)
			site.Case(Case{Kind: "sessions shown"}).Count(t)
			if err := site.Firewalls[0].Sysctl("net/netfilter/nf_conntrack_acct", "1"); err != nil {
				t.Fatal(err)
			}
			site.StartSubject(t)
			d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			o := d.Announce(PASV)
			daemon := site.Daemons[0]
			d.expectSession(t, daemon, "open", o)
			data := o.MustOpen(t)
			d.expectSession(t, daemon, "used", o)
			data.Close()
			d.expectData(t, daemon, len(o.token()))
			reset(d.Client)
			over := func() bool {
				list, err := daemon.Sessions()
				return err == nil && (len(list) == 0 || list[0]["state"] == "closed")
			}
			if err := waitFor(startTimeout, "end of the session in `sessions`", over); err != nil {
				t.Error(err)
			}
		})
	}
}

// expectSession waits until the only session looks as it should.
func (d *Dialogue) expectSession(t *testing.T, daemon *Daemon, pinhole string, o *Offer) {
	t.Helper()
	want := map[string]string{
		"client":  d.Client.LocalAddr().String(),
		"dialled": d.Client.RemoteAddr().String(),
		"server":  d.Server.LocalAddr().String(),
		"seen_as": d.Server.RemoteAddr().String(),
		"nat":     "both", "mode": "passive", "strategy": d.site.Subject.Strategy,
	}
	wantOffer := map[string]string{"verb": "PASV", "announced": o.listener.Addr().String(),
		"translated": o.To.String(), "target": o.listener.Addr().String(), "pinhole": pinhole}
	var wrong []string
	err := waitFor(startTimeout, "session as expected", func() bool {
		list, err := daemon.Sessions()
		if err != nil || len(list) != 1 {
			wrong = []string{fmt.Sprintf("%d sessions, %v", len(list), err)}
			return false
		}
		offer, _ := list[0]["offer"].(Object)
		wrong = append(differences(list[0], want), differences(offer, wantOffer)...)
		return len(wrong) == 0
	})
	if err != nil {
		t.Errorf("%v: %q", err, wrong)
	}
}

func differences(got Object, want map[string]string) []string {
	var wrong []string
	for key, w := range want {
		if g := fmt.Sprint(got[key]); g != w {
			wrong = append(wrong, fmt.Sprintf("%s is %q, not %q", key, g, w))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// expectData waits until the bytes of the data connection are counted: the token,
// with packet headers.
func (d *Dialogue) expectData(t *testing.T, daemon *Daemon, bytes int) {
	t.Helper()
	var data Object
	err := waitFor(startTimeout, "bytes of the data connection", func() bool {
		list, err := daemon.Sessions()
		if err != nil || len(list) != 1 {
			return false
		}
		data, _ = list[0]["data"].(Object)
		reply, _ := data["bytes_reply"].(float64)
		return data["connections"] == 1.0 && data["accounting"] == true && reply >= float64(bytes)
	})
	if err != nil {
		t.Errorf("%v: %v", err, data)
	}
}
