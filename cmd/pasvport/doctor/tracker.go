// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// idleLimit is how long a firewall must keep an idle established connection
// (RFC 5382, REQ-5). The control connection is idle while data flows.
const idleLimit = 2*time.Hour + 4*time.Minute

// Thresholds of the size of the conntrack table, in percent of nf_conntrack_max.
const (
	fullWarn    = 80
	fullProblem = 95
)

// tracker checks the settings of connection tracking.
func (e *examination) tracker() {
	const dir = "net/netfilter/nf_conntrack_"
	if s, ok := e.sysctl(dir + "tcp_timeout_established"); ok {
		e.timeout(time.Duration(s) * time.Second)
	}
	paired, _ := e.cfg.Paired() // a pair needs it
	if v, ok := e.sysctl(dir + "tcp_be_liberal"); ok && v != 0 && !paired {
		e.found(Warn, topicTracker, "nf_conntrack_tcp_be_liberal is on: segments outside the window are let through, also forged ones of control connections",
			"sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=0, unless something else here needs it")
	}
	e.room(dir)
	e.roomForExpectations()
	if v, ok := e.sysctl(dir + "helper"); ok && v != 0 {
		e.found(Warn, topicTracker, "nf_conntrack_helper is on: the kernel gives the helper ftp to port 21 on its own if nf_conntrack_ftp is loaded, and pasvport leaves such connections alone",
			"sysctl -w net.netfilter.nf_conntrack_helper=0")
	}
	if v, ok := e.sysctl(dir + "acct"); ok && v == 0 {
		e.found(OK, topicTracker, "nf_conntrack_acct is off: sessions are shown without bytes")
	}
}

func (e *examination) timeout(have time.Duration) {
	if have >= idleLimit {
		e.found(OK, topicTracker, fmt.Sprintf("established connections may be idle for %s", have))
		return
	}
	e.found(Warn, topicTracker,
		fmt.Sprintf("established connections are forgotten after %s without a packet, less than the 2h4m of RFC 5382: a control connection may be lost in a pause", have),
		fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=%d (the kernel's default is 432000)", int(idleLimit.Seconds())))
}

// roomForExpectations checks how many more expectations the kernel has room for.
func (e *examination) roomForExpectations() {
	n, most := e.counted()
	if most == 0 {
		return
	}
	text := fmt.Sprintf("%d of at most %d expectations in use", n, most)
	if n*100 < fullWarn*most {
		e.found(OK, topicTracker, text)
		return
	}
	e.found(Warn, topicTracker, text+": when there is no room left, announcements are claimed with --strategy auto, and else refused",
		"sysctl -w net.netfilter.nf_conntrack_expect_max with a higher number, in the first network namespace")
}

// countExpectations returns how many expectations the kernel has and how many it
// has room for, 0 if unknown.
func countExpectations() (n, most int) {
	ct, err := expect.Dial()
	if err != nil {
		return 0, 0
	}
	defer ct.Close()
	if n, err = ct.CountExpectations(); err != nil {
		return 0, 0
	}
	return n, expect.MostExpectations()
}

// room checks how many more connections conntrack has room for.
func (e *examination) room(dir string) {
	most, ok := e.sysctl(dir + "max")
	count, ok2 := e.sysctl(dir + "count")
	if !ok || !ok2 || most == 0 { // 0: no limit
		return
	}
	text := fmt.Sprintf("%d of at most %d connections tracked", count, most)
	hint := fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*most)
	switch percent := count * 100 / most; {
	case percent >= fullProblem:
		e.found(Problem, topicTracker, text+": new ones are dropped when it is full", hint)
	case percent >= fullWarn:
		e.found(Warn, topicTracker, text, hint)
	default:
		e.found(OK, topicTracker, text)
	}
}

// forwards reports whether the host forwards packets of a family. A setting
// that cannot be read counts as yes.
func (e *examination) forwards(f rules.Family) bool {
	name := "net/ipv4/ip_forward"
	if f == rules.FamilyIPv6 {
		name = "net/ipv6/conf/all/forwarding"
	}
	v, ok := e.sysctl(name)
	return !ok || v != 0
}

// legacy looks for the tables of iptables-legacy, which nftables does not show.
func (e *examination) legacy() {
	for _, f := range []struct{ file, save string }{
		{"/proc/thread-self/net/ip_tables_names", "iptables-legacy-save"},
		{"/proc/thread-self/net/ip6_tables_names", "ip6tables-legacy-save"},
	} {
		text, err := os.ReadFile(f.file)
		tables := strings.Fields(string(text))
		if err != nil || len(tables) == 0 {
			continue
		}
		e.found(Warn, topicConflict, fmt.Sprintf("iptables-legacy has tables here (%s), which are not looked at", strings.Join(tables, ", ")),
			"read them with "+f.save+"; they, too, have to accept RELATED connections")
	}
}
