// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// failLogin makes the server refuse a login.
func (d *Dialogue) failLogin() {
	d.t.Helper()
	for _, ask := range [][2]string{{"USER pvp", "331 password"}, {"PASS guess", "530 no"}} {
		d.Command(ask[0])
		d.Reply(ask[1])
	}
}

// blocked are the blocked clients in the status.
func (s *Site) blocked(t *testing.T) (list []string) {
	t.Helper()
	status, err := s.Daemons[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	all, _ := status["blocked"].([]any)
	for _, b := range all {
		list = append(list, fmt.Sprint(b.(Object)["client"]))
	}
	return list
}

// TestLoginFailures: a client whose logins fail is blocked, and no other client,
// until it is unblocked by hand or the block expires; a crash does not change
// that.
func TestLoginFailures(t *testing.T) {
	needDaemon(t)
	for _, f := range []Family{IPv4, IPv6} {
		for _, s := range subjects(t) {
			t.Run(fmt.Sprint(f, "/", s.Name), func(t *testing.T) {
				t.Parallel()
				flags := []string{"--login-failures", "3 in 1m, block 10m"}
				site := NewSite(t, position("routed"), AllowRelated, s, flags...)
				ln := site.ListenControl(t, f)
				reaches := func(from *Host) bool {
					c, err := from.Dial(netip.AddrPort{}, site.Dial(from, f, 0), 2*time.Second)
					if err != nil {
						return false
					}
					c.Close()
					a, err := ln.AcceptTCP()
					if err != nil {
						t.Fatal(err)
					}
					a.Close()
					return true
				}
				d := site.connect(t, ln, site.Client, f, netip.AddrPort{})
				d.Reply("220 ready")
				d.failLogin()
				d.login() // a successful one in between
				d.failLogin()
				if list := site.blocked(t); len(list) > 0 || !reaches(site.Client) {
					t.Fatalf("blocked too soon: %v", list)
				}
				second := site.connect(t, ln, site.Client, f, netip.AddrPort{})
				second.Reply("220 ready")
				second.failLogin()
				if err := waitFor(startTimeout, "a blocked client", func() bool { return len(site.blocked(t)) == 1 }); err != nil {
					t.Fatal(err)
				}
				bits := map[Family]string{IPv4: "/32", IPv6: "/64"}[f]
				if list := site.blocked(t); !strings.HasSuffix(list[0], bits) {
					t.Errorf("blocked %v, want %s", list, bits)
				}
				if reaches(site.Client) {
					t.Error("a blocked client connects")
				}
				if !reaches(site.Client2) {
					t.Error("another client does not connect")
				}
				if err := site.Daemons[0].Crash(); err != nil {
					t.Fatal(err)
				}
				site.Daemons[0] = site.StartDaemon(t, site.Firewalls[0], flags...)
				if reaches(site.Client) {
					t.Error("a blocked client connects after a crash")
				}
				client := site.ClientAddr(f).String()
				unblock := Cmd(site.Daemons[0].bin, "unblock", client, "--control-socket", site.Daemons[0].Socket)
				if out, err := site.Firewalls[0].Run(startTimeout, unblock); err != nil {
					t.Fatalf("unblock: %v\n%s", err, out)
				}
				if !reaches(site.Client) {
					t.Error("an unblocked client does not connect")
				}
				if out, err := site.Firewalls[0].Run(startTimeout, unblock); err == nil || !strings.Contains(out, "is not blocked") {
					t.Errorf("unblock of a client that is not blocked: %v\n%s", err, out)
				}
			})
		}
	}
}

// TestLoginFailuresElsewhere tests what docs/protocol.md recommends for the
// administrator's rules.
func TestLoginFailuresElsewhere(t *testing.T) {
	needDaemon(t)
	needPrograms(t, "jq")
	doc, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(doc), "[TestLoginFailuresElsewhere]")
	_, script, _ = strings.Cut(script, "```sh\n")
	script, _, _ = strings.Cut(script, "```")
	site := NewSite(t, position("routed"), AllowRelated, Auto, "--login-failures", "1 in 1m, block 10m")
	fw := site.Firewalls[0]
	script = strings.Replace(script, "pasvport events", site.Daemons[0].bin+" events --control-socket "+site.Daemons[0].Socket, 1)
	p, err := fw.Start(Cmd("sh", "-ec", script))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill() })
	if err := waitFor(startTimeout, "the sets", func() bool { return strings.Contains(fw.Rules(t), "ftp_blocked6") }); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	for f, want := range map[Family]string{IPv4: site.ClientAddr(IPv4).String(), IPv6: "fd07::/64"} {
		ln := site.ListenControl(t, f)
		d := site.connect(t, ln, site.Client, f, netip.AddrPort{})
		d.Reply("220 ready")
		d.failLogin()
		if err := waitFor(startTimeout, want+" in the administrator's set", func() bool {
			_, sets, _ := strings.Cut(fw.Rules(t), "set ftp_blocked")
			return strings.Contains(sets, want+" timeout 10m")
		}); err != nil {
			t.Errorf("%v\n%s\n%s", err, p.Output(), fw.Rules(t))
		}
	}
}

// TestLoginFailuresEnd: a block expires.
func TestLoginFailuresEnd(t *testing.T) {
	needDaemon(t)
	site := NewSite(t, position("routed"), AllowRelated, Auto, "--login-failures", "1 in 1m, block 2s")
	ln := site.ListenControl(t, IPv4)
	d := site.connect(t, ln, site.Client, IPv4, netip.AddrPort{})
	d.Reply("220 ready")
	d.failLogin()
	if err := waitFor(startTimeout, "a blocked client", func() bool { return strings.Contains(site.Daemons[0].Output(), `msg="client blocked"`) }); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(startTimeout, "the end of the block", func() bool { return len(site.blocked(t)) == 0 }); err != nil {
		t.Fatal(err)
	}
	site.connect(t, ln, site.Client, IPv4, netip.AddrPort{})
}
