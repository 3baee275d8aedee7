// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/rules"
)

// sysctls are kernel settings, by their names after nf_conntrack_.
func (e *examination) sysctls(is map[string]int) {
	e.sysctl = func(name string) (int, bool) {
		for short, v := range is {
			if name == "net/netfilter/nf_conntrack_"+short || name == short {
				return v, true
			}
		}
		return 0, false
	}
}

// TestTracker: settings of conntrack that break FTP, or accept too much.
func TestTracker(t *testing.T) {
	for _, tt := range []struct {
		name   string
		is     map[string]int
		paired bool
		level  Level
		want   []string
	}{
		{"liberal", map[string]int{"tcp_be_liberal": 1}, false, Warn, []string{"nf_conntrack_tcp_be_liberal is on", "nf_conntrack_tcp_be_liberal=0"}},
		{"helper", map[string]int{"helper": 1}, false, Warn, []string{"nf_conntrack_helper is on", "nf_conntrack_helper=0"}},
		{"no accounting", map[string]int{"acct": 0}, false, OK, []string{"sessions are shown without bytes"}},
		{"long enough", map[string]int{"tcp_timeout_established": 432000}, false, OK, []string{"may be idle for 120h0m0s"}},
		{"too short", map[string]int{"tcp_timeout_established": 3600}, false, Warn, []string{"forgotten after 1h0m0s", "nf_conntrack_tcp_timeout_established=7440"}},
		{"room", map[string]int{"max": 1000, "count": 799}, false, OK, []string{"799 of at most 1000 connections"}},
		{"nearly full", map[string]int{"max": 1000, "count": 800}, false, Warn, []string{"800 of at most 1000", "nf_conntrack_max=2000"}},
		{"full", map[string]int{"max": 1000, "count": 950}, false, Problem, []string{"new ones are dropped when it is full", "nf_conntrack_max=2000"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &examination{report: new(Report), cfg: settings(), counted: func() (int, int) { return 0, 0 }}
			e.sysctls(tt.is)
			e.tracker()
			one(t, e.report, tt.level, tt.want...)
		})
	}
	e := &examination{report: new(Report), cfg: settings(), counted: func() (int, int) { return 0, 0 }}
	e.cfg.Peer, e.cfg.PeerListen, e.cfg.PeerKey = "192.0.2.1:1", "192.0.2.2:1", "key" // a pair needs it
	e.sysctls(map[string]int{"tcp_be_liberal": 1, "max": 0, "count": 5})
	if e.tracker(); len(e.report.Findings) != 0 {
		t.Errorf("findings: %+v", e.report.Findings)
	}
	if idleLimit != 2*time.Hour+4*time.Minute {
		t.Error("RFC 5382 says two hours and four minutes")
	}
}

// TestRoomForExpectations: announcements need room for expectations.
func TestRoomForExpectations(t *testing.T) {
	for _, tt := range []struct {
		n, most int
		level   Level
		want    string
	}{
		{3, 1024, OK, "3 of at most 1024 expectations"},
		{820, 1024, Warn, "no room left"},
	} {
		e := &examination{report: new(Report), counted: func() (int, int) { return tt.n, tt.most }}
		e.roomForExpectations()
		one(t, e.report, tt.level, tt.want)
	}
}

// TestForwards: a host forwards a family if the kernel says so, or does not say.
func TestForwards(t *testing.T) {
	e := new(examination)
	e.sysctls(map[string]int{"net/ipv4/ip_forward": 0, "net/ipv6/conf/all/forwarding": 1})
	if e.forwards(rules.FamilyIPv4) || !e.forwards(rules.FamilyIPv6) {
		t.Error("the families are not distinguished")
	}
	e.sysctls(nil)
	if !e.forwards(rules.FamilyIPv4) {
		t.Error("a setting that cannot be read counts as no")
	}
}
