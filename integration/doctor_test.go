// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// A patient is a ruleset that breaks FTP, with the fault the doctor has to name,
// and how to follow its advice where that is not a command.
type patient struct {
	name     string
	position string    // the site's position; empty: routed
	at       *Position // overrides position
	rules    string    // input of nft -f
	iptables []string  // iptables arguments, applied after rules
	allow    Allow     // for daemon and doctor; empty: related
	names    string    // the fault, in the doctor's words
	advice   string    // start of the doctor's advice
	follow   func(rules string) string
	dead     bool     // not even control connections work
	flags    []string // further flags for daemon and doctor
}

// firewall is an inet table with the given body.
func firewall(body string) string { return "table inet filter {\n" + body + "\n}\n" }

const policyDropForward = "type filter hook forward priority filter; policy drop;"

var patients = []patient{
	{name: "established only", names: "dropped by the policy of chain inet filter forward",
		rules:  firewall("chain forward { " + policyDropForward + " ct state established accept; tcp dport 21 accept; }"),
		advice: "nft insert rule inet filter forward ct state established,related accept"},
	{name: "policy accept, reject at the end", names: "reject",
		rules: firewall("chain forward { type filter hook forward priority filter; policy accept; " +
			"ct state established accept; tcp dport { 21, 22, 80 } accept; meta l4proto icmp accept; counter reject with icmpx admin-prohibited; }"),
		advice: "nft insert rule inet filter forward ct state established,related accept"},
	{name: "vmap of states", names: "dropped by the policy of chain inet filter forward",
		rules:  firewall("chain forward { " + policyDropForward + " ct state vmap { established : accept, invalid : drop }; tcp dport vmap { 21 : accept, 22 : accept }; }"),
		advice: "nft insert rule inet filter forward ct state established,related accept"},
	{name: "related dropped by a vmap", names: "ct state vmap",
		rules:  firewall("chain forward { " + policyDropForward + " ct state vmap { established : accept, related : drop, invalid : drop }; tcp dport 21 accept; }"),
		advice: "nft insert rule inet filter forward ct state established,related accept"},
	{name: "zones", names: "dropped by the policy of chain inet filter forward",
		rules: firewall(`chain lan-wan { ct state established accept; tcp dport { 21, 80, 443 } accept; }
		chain wan-lan { ct state established accept; }
		chain forward { ` + policyDropForward + ` iifname . oifname vmap { "in0" . "out0" : jump lan-wan, "out0" . "in0" : goto wan-lan }; }`),
		advice: "nft insert rule inet filter forward ct state established,related accept"},
	{name: "intervals before related", names: "tcp dport @high drop",
		rules: firewall("set high { type inet_service; flags interval; elements = { 1024-65535 }; }\n" +
			"chain forward { " + policyDropForward + " ct state established accept; tcp dport @high drop; ct state related accept; tcp dport 21 accept; }"),
		advice: "nft insert rule inet filter forward ct state established,related accept"},
	{name: "a second table", names: "inet later check",
		rules: firewall("chain forward { "+policyDropForward+" ct state established,related accept; tcp dport 21 accept; }") +
			"table inet later { chain check { type filter hook forward priority 10; policy accept; ct state established accept; tcp dport != 21 drop; }; }\n",
		advice: "nft insert rule inet later check ct state established,related accept"},
	{name: "related of the kernel's helper only", names: "dropped by the policy of chain inet filter forward",
		rules:  firewall("chain forward { " + policyDropForward + ` ct state established accept; ct state related ct helper "ftp" accept; tcp dport 21 accept; }`),
		advice: "nft insert rule inet filter forward ct state established,related accept"},
	{name: "mark asked, not accepted", allow: AllowMark, names: "dropped by the policy of chain inet filter forward",
		rules:  firewall("chain forward { " + policyDropForward + " ct state established accept; ct mark 0x1 accept; tcp dport 21 accept; }"),
		advice: "nft insert rule inet filter forward ct mark & 0x04000000 == 0x04000000 accept"},
	{name: "server here", position: "server-on-firewall", names: "dropped by the policy of chain inet filter input",
		rules: firewall("chain input { type filter hook input priority filter; policy drop; ct state established accept; iifname \"lo\" accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; tcp dport { 21, 22 } accept; }\n" +
			"chain output { type filter hook output priority filter; policy drop; ct state established accept; }"),
		advice: "nft insert rule inet filter input ct state established,related accept"},
	{name: "client here", position: "client-on-firewall", names: "dropped by the policy of chain inet filter output",
		rules: firewall("chain input { type filter hook input priority filter; policy drop; ct state established accept; }\n" +
			"chain output { type filter hook output priority filter; policy drop; ct state established accept; tcp dport 21 accept; meta l4proto { icmp, icmpv6 } accept; }"),
		advice: "nft insert rule inet filter output ct state established,related accept"},
	{name: "untracked", names: "notrack",
		rules: "table inet raw { chain pre { type filter hook prerouting priority raw; tcp dport { 21, 80 } notrack; tcp sport { 21, 80 } notrack; }; }\n" +
			firewall("chain forward { "+policyDropForward+" ct state established,related,untracked accept; tcp dport 21 accept; }"),
		advice: "except the control ports in this rule: tcp dport != 21-21 tcp sport != 21-21",
		follow: func(r string) string {
			return strings.NewReplacer("tcp dport { 21, 80 } notrack", "tcp dport != 21-21 tcp sport != 21-21 tcp dport { 21, 80 } notrack",
				"tcp sport { 21, 80 } notrack", "tcp dport != 21-21 tcp sport != 21-21 tcp sport { 21, 80 } notrack").Replace(r)
		}},
	{name: "flowtable", names: "flow add @fast", flags: []string{"--carrier", "none"},
		rules: firewall("flowtable fast { hook ingress priority filter; devices = { in0, out0 }; }\nchain forward { " + policyDropForward +
			" meta l4proto tcp ct state established flow add @fast; ct state established,related accept; tcp dport 21 accept; }"),
		advice: "except the control ports in this rule: tcp dport != 21-21 tcp sport != 21-21",
		follow: func(r string) string {
			return strings.Replace(r, "ct state established flow", "tcp dport != 21-21 tcp sport != 21-21 ct state established flow", 1)
		}},
	{name: "mark overwritten", names: "ct mark set 0x00000001",
		rules: firewall("chain marks { type filter hook forward priority -50; ct mark set 0x1; }\n" +
			"chain forward { " + policyDropForward + " ct state established accept; ct mark & 0x04000000 == 0x04000000 accept; tcp dport 21 accept; }"),
		allow: AllowMark, advice: "keep it: ct mark set ct mark & 0x04000000 | ...",
		follow: func(r string) string {
			return strings.Replace(r, "ct mark set 0x1", "ct mark set ct mark & 0x04000000 | 0x1", 1)
		}},
	{name: "iptables", names: "dropped by the policy of chain ip filter FORWARD",
		iptables: []string{"-P FORWARD DROP", "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-A FORWARD -p tcp --dport 21 -j ACCEPT"},
		advice:   "iptables -I FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"},
	{name: "like ufw", names: "dropped by the policy of chain ip filter FORWARD",
		iptables: []string{"-P FORWARD DROP", "-N ufw-before-forward", "-N ufw-user-forward", "-A FORWARD -j ufw-before-forward", "-A FORWARD -j ufw-user-forward",
			"-A ufw-before-forward -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-A ufw-user-forward -p tcp --dport 21 -j ACCEPT"},
		advice: "in /etc/ufw/before.rules, before COMMIT: -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; then ufw reload"},
	{name: "like Docker", names: "dropped by the policy of chain ip filter FORWARD",
		iptables: []string{"-P FORWARD DROP", "-N DOCKER", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-A FORWARD -i in0 -p tcp --dport 21 -j ACCEPT",
			"-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-A FORWARD -o in0 -j DOCKER", "-A DOCKER -j DROP"},
		advice: "iptables -I DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT (Docker keeps this chain for you)"},
}

// healthy are rulesets with which FTP works.
var healthy = []patient{
	{name: "flowtable", rules: firewall("flowtable fast { hook ingress priority filter; devices = { in0, out0 }; }\nchain forward { " + policyDropForward +
		" meta l4proto tcp ct state established flow add @fast; ct state established,related accept; tcp dport 21 accept; }")},
	{name: "flowtable, claims", flags: []string{"--strategy", "claim"},
		rules: firewall("flowtable fast { hook ingress priority filter; devices = { in0, out0 }; }\nchain forward { " + policyDropForward +
			" meta l4proto tcp ct state established flow add @fast; ct state established,related accept; tcp dport 21 accept; }")},
	{name: "nat only", rules: "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname \"out0\" masquerade; }; }\n"},
	{name: "like firewalld", rules: `table inet firewalld {
		chain filter_PREROUTING { type filter hook prerouting priority filter + 10; policy accept; icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept; meta nfproto ipv6 fib saddr . mark . iif oif missing drop; }
		chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; ct state { established, related } accept; ct status dnat accept; iifname "lo" accept; ct state invalid drop; ip6 daddr { ::/96, ::ffff:0.0.0.0/96 } reject with icmpv6 addr-unreachable; jump filter_FORWARD_POLICIES; reject with icmpx admin-prohibited; }
		chain filter_FORWARD_POLICIES { iifname "in0" oifname "out0" jump filter_FWD_policy_lan; iifname "in0" goto filter_reject; iifname "out0" goto filter_reject; }
		chain filter_FWD_policy_lan { tcp dport 21 ct state { new, untracked } accept; return; }
		chain filter_reject { reject with icmpx admin-prohibited; }
		}
`},
	{name: "like Docker", iptables: []string{"-P FORWARD DROP", "-N DOCKER", "-N DOCKER-USER", "-N DOCKER-FORWARD", "-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKER-FORWARD",
		"-A DOCKER-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A DOCKER-FORWARD -o in0 -j DOCKER", "-A DOCKER -j DROP", "-A DOCKER-USER -i in0 -p tcp --dport 21 -j ACCEPT"}},
	{name: "block list", rules: firewall("set bad { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }\n" +
		"chain forward { " + policyDropForward + " ip saddr @bad drop; ct state established,related accept; tcp dport 21 ct state new accept; }")},
}

// TestDoctorContent: where FTP works, the doctor finds no problem.
func TestDoctorContent(t *testing.T) {
	for _, p := range healthy {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := p.site(t)
			if d := s.examine(t, p.flags...); d.find("") != nil {
				t.Errorf("%+v", d)
			}
			if failed := s.tryModes(t, s.Talk(t, s.ListenControl(t, IPv4), s.ClientHost(), IPv4), openTimeout); len(failed) > 0 {
				t.Error(failed)
			}
		})
	}
}

// site builds the site of a patient, with a daemon.
func (p patient) site(t *testing.T) *Site {
	t.Helper()
	needDaemon(t)
	if p.iptables != nil {
		needPrograms(t, "iptables-nft")
	}
	at := p.at
	if at == nil {
		named := position(cmp.Or(p.position, "routed"))
		at = &named
	}
	s := NewSiteOnly(t, *at, cmp.Or(p.allow, AllowRelated), Auto)
	s.Case(Case{Kind: "doctor"}).Count(t)
	s.fallIll(t, p)
	s.StartSubject(t, p.flags...)
	return s
}

// TestDoctorAdvice: with each ruleset FTP fails; the doctor names the fault and
// gives advice; once it is followed, the doctor finds no problem and FTP works.
func TestDoctorAdvice(t *testing.T) {
	for _, p := range patients {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := p.site(t)
			ln := s.ListenControl(t, IPv4)
			if p.dead {
				if c, err := s.ClientHost().Dial(netip.AddrPort{}, s.Dial(s.ClientHost(), IPv4, 0), refusedTimeout); err == nil {
					c.Close()
					t.Error("a control connection works before the doctor's advice was followed")
				}
			} else if failed := s.tryModes(t, s.Talk(t, ln, s.ClientHost(), IPv4), refusedTimeout); len(failed) == 0 {
				t.Error("FTP works before the doctor's advice was followed")
			}
			sick := s.examine(t, p.flags...)
			f := sick.find(p.advice)
			if f == nil || !strings.Contains(strings.Join(f.Detail, "\n"), p.names) {
				t.Fatalf("no finding names %q with the advice %q:\n%+v", p.names, p.advice, sick)
			}
			for _, f := range sick.Findings {
				if f.Level != "ok" {
					s.follow(t, p, f.Hint)
				}
			}
			if well := s.examine(t, p.flags...); well.find(p.advice) != nil {
				t.Errorf("afterwards:\n%+v", well)
			}
			if failed := s.tryModes(t, s.Talk(t, ln, s.ClientHost(), IPv4), openTimeout); len(failed) > 0 {
				t.Errorf("with the doctor's advice followed: %v", failed)
			}
		})
	}
}

// fallIll replaces the position's ruleset with a patient's.
func (s *Site) fallIll(t *testing.T, p patient) {
	t.Helper()
	fw := s.Firewalls[0]
	if strings.Contains(p.rules, "flowtable") && !fw.hasFlowtables(t) {
		t.Skip("this kernel has no flow tables (nf_flow_table_inet)")
	}
	fw.LoadRules(t, "flush ruleset\n"+p.rules)
	for _, line := range p.iptables {
		s.runLine(t, "iptables "+line)
	}
}

// hasFlowtables reports whether the kernel accepts a flowtable.
func (h *Host) hasFlowtables(t *testing.T) bool {
	t.Helper()
	out, err := h.Run(10*time.Second, Cmd("nft", "-c", "add table inet x; add flowtable inet x y { hook ingress priority 0; devices = { lo }; }"))
	if err != nil && !strings.Contains(out, "No such file or directory") {
		t.Fatalf("flowtable: %v: %s", err, out)
	}
	return err == nil
}

// runLine runs a shell command on the firewall.
func (s *Site) runLine(t *testing.T, line string) {
	t.Helper()
	program := "iptables-nft "
	if strings.HasPrefix(line, "iptables 6 ") {
		line, program = strings.Replace(line, "6 ", "", 1), "ip6tables-nft "
	}
	args := strings.Fields(strings.Replace(line, "iptables ", program, 1))
	if out, err := s.Firewalls[0].Run(10*time.Second, Cmd(args...)); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// follow applies the advice in hints.
func (s *Site) follow(t *testing.T, p patient, hints []string) {
	t.Helper()
	if p.follow != nil {
		p.rules = p.follow(p.rules)
		s.fallIll(t, p)
		return
	}
	for _, h := range hints {
		if _, rule, ok := strings.Cut(h, "before COMMIT: "); ok { // advice for ufw's file
			rule, _, _ = strings.Cut(rule, ";")
			h = "iptables " + rule
		}
		h, _, _ = strings.Cut(h, " (Docker")
		if strings.HasPrefix(h, "nft ") || strings.HasPrefix(h, "iptables ") {
			s.runLine(t, h)
		}
	}
}

// tryModes opens a data connection in each mode, and returns what failed.
func (s *Site) tryModes(t *testing.T, talk *Dialogue, timeout time.Duration) (failed []error) {
	t.Helper()
	for _, m := range []Mode{PORT, PASV} {
		o := talk.Announce(m)
		c, err := o.Connect(o.Opener, timeout)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m, err))
			continue
		}
		c.Close()
	}
	return failed
}

// diagnosis is the part of `doctor --json` that tests need.
type diagnosis struct {
	Findings []finding `json:"findings"`
}

type finding struct {
	Level, Topic, Position, Text string
	Families, Detail, Hint       []string
}

// find returns the first finding that reports a problem and has this hint.
func (d diagnosis) find(hint string) *finding {
	for i := range d.Findings {
		if f := &d.Findings[i]; f.Level != "ok" && slices.ContainsFunc(f.Hint, func(h string) bool { return strings.HasPrefix(h, hint) }) {
			return f
		}
	}
	return nil
}

// examine runs the doctor on the first firewall.
func (s *Site) examine(t *testing.T, flags ...string) (d diagnosis) {
	t.Helper()
	bin, err := binary.file()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{bin, "doctor", "--json", "--control-socket", s.Daemons[0].Socket,
		"--port", s.Position.portFlag(), "--strategy", s.Subject.Strategy, "--allow", s.Allow.flag(s.Position)}
	out, err := s.Firewalls[0].Run(30*time.Second, Cmd(append(args, flags...)...))
	text, _, _ := strings.Cut(out, "\npasvport:") // the doctor exits with an error if there are problems
	if jsonErr := json.Unmarshal([]byte(text), &d); jsonErr != nil {
		t.Fatalf("doctor: %v, %v\n%s", err, jsonErr, out)
	}
	return d
}

// TestDoctorAsks: without flags the doctor examines the settings of the running
// daemon; with flags it reports where they differ from them.
func TestDoctorAsks(t *testing.T) {
	needDaemon(t)
	s := NewSiteOnly(t, position("routed"), AllowRelated, Auto)
	s.Case(Case{Kind: "doctor"}).Count(t)
	s.fallIll(t, patient{rules: firewall("chain forward { " + policyDropForward + " ct state established,related accept; tcp dport { 21, 2121 } accept; }")})
	s.StartSubject(t, "--port", "2121", "--min-data-port", "2000")
	ask := func(flags ...string) string {
		t.Helper()
		args := append([]string{s.Daemons[0].bin, "doctor", "--control-socket", s.Daemons[0].Socket}, flags...)
		out, _ := s.Firewalls[0].Run(30*time.Second, Cmd(args...))
		return out
	}
	for _, tt := range []struct {
		flags     []string
		has, lack string
	}{
		{nil, "control ports 21, 2121, table pasvport, allow related", "as this examination"},
		{nil, "its rules are complete", "rules of it are missing"},
		{[]string{"--port", "21,2121", "--min-data-port", "2000", "--strategy", "auto"}, "its rules are complete", "the running daemon has"},
		{[]string{"--port", "8021", "--min-data-port", "2000"}, "the running daemon has ports 21,2121 and not 8021, as this examination", "rules of it are missing"},
	} {
		if out := ask(tt.flags...); !strings.Contains(out, tt.has) || strings.Contains(out, tt.lack) {
			t.Errorf("%q: want %q, not %q:\n%s", tt.flags, tt.has, tt.lack, out)
		}
	}
}
