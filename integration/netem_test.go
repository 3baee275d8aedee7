// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// badNetworks are netem's settings for the links on both sides of the firewall,
// in both directions. A segment with a random delay overtakes others, or is
// overtaken.
var badNetworks = []struct{ name, netem string }{
	{"loss", "loss 5%"},
	{"reordering", "delay 20ms reorder 70% 50%"},
	{"duplication", "duplicate 20%"},
	{"delay", "delay 30ms 25ms"},
	{"everything", "delay 10ms 8ms loss 3% duplicate 5%"},
}

// TestNetem is TestLoss on links where netem loses, reorders, duplicates and
// delays packets, of control and data connections alike.
func TestNetem(t *testing.T) {
	needDaemon(t)
	NewSiteOnly(t, position("routed"), AllowRelated, openFirewall).needNetem(t)
	survived := new(lossTable)
	t.Cleanup(func() { survived.compare(t) })
	for _, bad := range badNetworks {
		for _, p := range []string{"masquerade", "dnat", "both-nat"} {
			for _, s := range []Subject{Expectation, Claim, openFirewall} {
				t.Run(bad.name+"/"+p+"/"+s.Name, func(t *testing.T) {
					t.Parallel()
					site := NewSite(t, position(p), AllowRelated, s)
					site.Case(Case{Family: IPv4, Kind: "netem " + bad.name}).Count(t)
					if s == openFirewall {
						site.Firewalls[0].LoadRules(t, "insert rule inet filter forward accept")
					}
					site.patience(t)
					site.startNumbered(t, site.translates() && s != openFirewall)
					run := site.runLoss(t, envInt(t, "PASVPORT_LOSS_SESSIONS", lossSessions), func() { site.spoil(t, bad.netem) })
					before, behind := site.spoilt(t)
					run.before, run.behind = before.Drops, behind.Drops
					if lossy := strings.Contains(bad.netem, "loss"); before.Packets == 0 || behind.Packets == 0 ||
						lossy != (before.Drops > 0) || lossy != (behind.Drops > 0) {
						t.Errorf("netem counted %+v before and %+v behind the firewall", before, behind)
					}
					survived.add(bad.name+" "+p, s, run)
					if len(run.died) > 0 {
						t.Log(site.Dump()) // also for scripts/vm-test, which keeps the packets
						for _, d := range site.Daemons {
							status, err := d.Status()
							t.Logf("decisions %v %v", status["decisions"], err)
						}
					}
				})
			}
		}
	}
}

// needNetem skips the test on a kernel without netem.
func (s *Site) needNetem(t *testing.T) {
	t.Helper()
	needPrograms(t, "tc")
	lo := Cmd("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms")
	if out, err := s.Firewalls[0].Run(10*time.Second, lo); err != nil {
		t.Skipf("this kernel has no netem (CONFIG_NET_SCH_NETEM); scripts/vm-test has one: %s", strings.TrimSpace(out))
	}
}

// badLink is one direction of a link: what a host sends on an interface.
type badLink struct {
	host *Host
	dev  string
}

// badLinks are those on which packets reach the firewall, and those on which they
// leave it.
func (s *Site) badLinks() (before, behind []badLink) {
	fw := s.Firewalls[0]
	return []badLink{{s.Client, "eth0"}, {s.Client2, "eth0"}, {s.Server, "eth0"}},
		[]badLink{{fw, "in0"}, {fw, "in1"}, {fw, "out0"}}
}

// spoil puts netem on all links.
func (s *Site) spoil(t *testing.T, netem string) {
	t.Helper()
	before, behind := s.badLinks()
	for _, l := range append(before, behind...) {
		args := append([]string{"tc", "qdisc", "add", "dev", l.dev, "root", "netem", "limit", "10000"}, strings.Fields(netem)...)
		if out, err := l.host.Run(10*time.Second, Cmd(args...)); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
}

// netemSeen is netem's counters: packets that it forwarded and that it lost.
type netemSeen struct {
	Packets, Drops int
}

// spoilt reads netem's counters.
func (s *Site) spoilt(t *testing.T) (before, behind netemSeen) {
	t.Helper()
	sum := func(links []badLink) (n netemSeen) {
		for _, l := range links {
			out, err := l.host.Run(10*time.Second, Cmd("tc", "-s", "-j", "qdisc", "show", "dev", l.dev))
			var list []netemSeen
			if err == nil {
				err = json.Unmarshal([]byte(out), &list)
			}
			if err != nil || len(list) != 1 {
				t.Fatalf("netem of %s: %v: %s", l.dev, err, out)
			}
			n.Packets += list[0].Packets
			n.Drops += list[0].Drops
		}
		return n
	}
	to, from := s.badLinks()
	return sum(to), sum(from)
}
