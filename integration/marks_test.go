// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// uplinks are rules of products with several uplinks: a new connection gets one,
// and all of its packets, and those related to it, are routed by the connection's
// mark. The masked ones leave a bit to --allow mark.
var uplinks = []struct{ name, whole, masked string }{
	{"compared", "ct mark 111 meta mark set 111", "ct mark and 0xff == 111 meta mark set 111"},
	{"copied", "meta mark set ct mark", "meta mark set ct mark and 0xff"},
}

// loadUplinks makes a firewall route by mark, and counts at every hook the
// packets and connections with a mark that the administrator did not set.
func (s *Site) loadUplinks(t *testing.T, route string, masked bool) {
	t.Helper()
	another := "ct mark != 111"
	if masked {
		another = "ct mark and 0xff != 111"
	}
	chains := ""
	for _, hook := range []string{"prerouting", "input", "forward", "output", "postrouting"} {
		for _, prio := range []int{-149, -145, 0, 300} {
			if hook == "prerouting" && prio == -145 || hook == "output" && prio == -149 {
				continue
			}
			chains += fmt.Sprintf(`	chain %[1]s_%[2]d {
		type filter hook %[1]s priority %[3]d; policy accept;
		meta l4proto tcp ct state established,related %[4]s counter name wrong
		meta l4proto tcp meta mark != { 0, 111 } counter name wrong
	}
`, hook, prio+200, prio, another)
		}
	}
	fw := s.Firewalls[0]
	fw.LoadRules(t, fmt.Sprintf(`table inet uplinks {
	counter wrong { }
	chain choose {
		type filter hook prerouting priority -160; policy accept;
		iifname "in*" ct state new ct mark set 111
	}
	chain route {
		type filter hook prerouting priority -140; policy accept;
		meta l4proto tcp %s
	}
%s}`, route, chains))
	for _, family := range []string{"-4", "-6"} {
		for _, rule := range []string{"pref 100 fwmark 111 lookup main", "pref 101 iif in0 ipproto tcp unreachable", "pref 102 iif out0 ipproto tcp unreachable"} {
			if out, err := fw.Run(10*time.Second, Cmd(append([]string{"ip", family, "rule", "add"}, strings.Fields(rule)...)...)); err != nil {
				t.Fatalf("ip rule: %v: %s", err, out)
			}
		}
	}
}

var uplinkCounter = regexp.MustCompile(`packets (\d+)`)

func (s *Site) wrongMarks(t *testing.T) string {
	t.Helper()
	out, err := s.Firewalls[0].Run(10*time.Second, Cmd("nft", "list", "counter", "inet", "uplinks", "wrong"))
	m := uplinkCounter.FindStringSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("counter: %v: %s", err, out)
	}
	return m[1]
}

// TestMarksOfTheAdministrator: sessions and their transfers use the uplink that
// the administrator's mark names, also sessions older than the daemon, and
// without --allow mark no hook sees a bit of ours.
func TestMarksOfTheAdministrator(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "masquerade", "both-nat"} {
		for _, a := range []Allow{AllowRelated, AllowChain, AllowMark} {
			for _, u := range uplinks {
				for _, s := range subjects(t) {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", p, a, u.name, s.Name), func(t *testing.T) {
						t.Parallel()
						site := NewSiteOnly(t, position(p), a, s)
						route := u.whole
						if a == AllowMark {
							route = u.masked
						}
						site.loadUplinks(t, route, a == AllowMark)
						f := IPv4
						ln := site.ListenControl(t, f)
						older := site.Talk(t, ln, site.ClientHost(), f)
						site.StartSubject(t)
						for range 2 {
							older.Command("NOOP")
							older.Reply("200 noop")
							d := site.Talk(t, ln, site.ClientHost(), f)
							d.goesOn(t, clientSpeaks)
							d.encrypt(t)
							d.Command("\x17\x03\x03 not for you")
							d.Reply("\x17\x03\x03 neither")
							if err := site.Daemons[0].Crash(); err != nil {
								t.Fatal(err)
							}
							site.Daemons = nil
							site.StartSubject(t)
						}
						if got := site.wrongMarks(t); got != "0" {
							t.Errorf("%s packets with a mark that is not the administrator's", got)
						}
					})
				}
			}
		}
	}
}

// TestPacketMarksOfTheAdministrator: no hook sees a packet with a mark other than
// the administrator's, even if conntrack has no connection for it, its connection
// was lost, or its sender gets a reset.
func TestPacketMarksOfTheAdministrator(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "masquerade", "client-on-firewall"} {
		for _, loose := range []string{"1", "0"} {
			for _, s := range subjects(t) {
				t.Run(p+"/loose="+loose+"/"+s.Name, func(t *testing.T) {
					t.Parallel()
					site := NewSiteOnly(t, position(p), AllowRelated, s)
					fw := site.Firewalls[0]
					fw.LoadRules(t, packetMarks()+"insert rule inet filter output tcp flags & rst == rst accept")
					if err := fw.Sysctl("net/netfilter/nf_conntrack_tcp_loose", loose); err != nil {
						t.Fatal(err)
					}
					site.StartSubject(t)
					ln := site.ListenControl(t, IPv4)
					d := site.Talk(t, ln, site.ClientHost(), IPv4)
					if err := d.sendOutOfWindow(); err != nil {
						t.Fatal(err)
					}
					d.goesOn(t, clientSpeaks)
					site.flush(t, d)
					if loose == "0" || p == "masquerade" { // sequence numbers were adjusted there
						d.isReset(t, clientSpeaks)
					} else {
						d.goesOn(t, clientSpeaks)
					}
					if got := site.wrongMarks(t); got != "0" {
						t.Errorf("%s packets with a mark that is not the administrator's", got)
					}
				})
			}
		}
	}
}

// packetMarks set a mark on all packets of a firewall, and count those that have
// another one later.
func packetMarks() string {
	text := `table inet uplinks {
	counter wrong { }
	chain from { type filter hook prerouting priority -300; meta l4proto tcp meta mark set 111; }
	chain own { type filter hook output priority -300; meta l4proto tcp meta mark set 111; }
`
	for _, hook := range []string{"prerouting", "input", "forward", "output", "postrouting"} {
		for _, prio := range []int{-201, -149, -148, -147, 0, 300} {
			text += fmt.Sprintf("	chain %s_%d { type filter hook %[1]s priority %[3]d; meta l4proto tcp meta mark != 111 counter name wrong; }\n", hook, prio+300, prio)
		}
	}
	return text + "}\n"
}
