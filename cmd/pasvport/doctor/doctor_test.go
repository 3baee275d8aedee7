// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/integration/stage"
	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

var update = flag.Bool("update", false, "write the golden files")

// inNamespace runs f on a thread in a network namespace of its own, with a
// ruleset and settings. The thread is not reused, and the namespace ends with it.
func inNamespace(t *testing.T, ruleset string, sysctls map[string]string, f func() error) {
	t.Helper()
	stage.Need(t, "nft")
	stage.Alone(t, func() error {
		nft := exec.Command("nft", "-f", "-")
		nft.Stdin = strings.NewReader(ruleset)
		if out, err := nft.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		for name, value := range sysctls {
			if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
		return f()
	})
}

// examine returns the report on a ruleset.
func examine(t *testing.T, ruleset string, sysctls map[string]string, cfg config.Config, ends Ends) *Report {
	t.Helper()
	var r *Report
	inNamespace(t, ruleset, sysctls, func() (err error) {
		r, err = Run(t.Context(), Question{Config: cfg, Asked: true, Ends: ends})
		return err
	})
	return r
}

func settings() config.Config {
	c := config.Default()
	c.Queues, c.ControlSocket = 1, ""
	return c
}

// router forwards both families.
var router = map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// machine matches what differs between machines: how many connections may be
// tracked.
var machine = regexp.MustCompile(`\d+ of at most \d+`)

// portable removes what differs between kernels and machines.
func portable(r *Report) {
	r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.Topic == topicKernel })
	for i := range r.Findings {
		r.Findings[i].Text = machine.ReplaceAllString(r.Findings[i].Text, "N of at most M")
	}
}

// TestBrokenRulesets compares the whole report on some rulesets with golden
// files.
func TestBrokenRulesets(t *testing.T) {
	short := map[string]string{"net/netfilter/nf_conntrack_tcp_timeout_established": "3600", "net/netfilter/nf_conntrack_tcp_be_liberal": "1"}
	for k, v := range router {
		short[k] = v
	}
	marked := settings()
	marked.Allow = config.AllowMark
	for _, tt := range []struct {
		name, ruleset string
		sysctls       map[string]string
		cfg           config.Config
		ends          Ends
	}{
		{"gateway", "gateway", router, settings(), Ends{}},
		{"established-only", "established-only", router, settings(), Ends{}},
		{"established-only-mark", "established-only", router, marked, Ends{}},
		{"conflicts", "conflicts", short, marked, Ends{}},
		{"docker", "docker", router, settings(), Ends{ClientLink: "wlan0", ServerLink: "eth0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := examine(t, file(t, tt.ruleset+".nft"), tt.sysctls, tt.cfg, tt.ends)
			if r.Fine() {
				t.Error("no problem was found")
			}
			portable(r)
			var b bytes.Buffer
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(file(t, tt.name+".txt"), b.String()); d != "" {
				t.Errorf("(-want +got; -update writes it):\n%s", d)
			}
		})
	}
}

// TestGuide: the example in the guide is the ruleset and the report of the tests,
// without the findings that are OK.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	problems, _, ok := strings.Cut(file(t, "gateway.txt"), "\nOK\n")
	if !ok {
		t.Fatal("no finding is OK")
	}
	for _, text := range []string{file(t, "gateway.nft"), problems} {
		if !strings.Contains(string(guide), "\n"+text+"```") {
			t.Errorf("docs/doctor.md does not have this as it is:\n%s", text)
		}
	}
}

// TestFineRulesets: what works is not called broken, in each way of --allow.
func TestFineRulesets(t *testing.T) {
	head := "table inet filter {\n\tchain forward {\n\t\ttype filter hook forward priority 0; policy drop;\n\t\tct state established accept\n\t\ttcp dport 21 accept\n"
	chains := settings()
	chains.Allow = config.AllowChain
	chains.Chains = []rules.ChainRef{{Family: rules.FamilyINet, Table: "filter", Chain: "forward"}}
	marked := settings()
	marked.Allow = config.AllowMark
	for _, tt := range []struct {
		name, ruleset string
		cfg           config.Config
	}{
		{"nothing", "", settings()},
		{"related", head + "\t\tct state related accept\n\t}\n}", settings()},
		{"mark", head + "\t\tct mark & 0x04000000 == 0x04000000 accept\n\t}\n}", marked},
		{"chain", head + "\t}\n}", chains},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := examine(t, tt.ruleset, router, tt.cfg, Ends{}); !r.Fine() || r.Warnings > 0 {
				var b strings.Builder
				_ = r.WriteText(&b)
				t.Errorf("%s", b.String())
			}
		})
	}
}

// TestBlockLists: a rule that may drop the control connection as well is no
// problem of FTP; one that it has passed is.
func TestBlockLists(t *testing.T) {
	head := "table inet f {\n\tset bad { type ipv4_addr; elements = { 192.0.2.66 }; }\n" +
		"\tchain forward {\n\t\ttype filter hook forward priority 0; policy drop;\n"
	accept := "\t\tct state established,related accept\n"
	for _, tt := range []struct {
		name, rules string
		problems    int
		warnings    int
		want        string
	}{
		{"before everything", "ip saddr @bad drop\n" + accept + "tcp dport 21 accept\n", 0, 0, "unless dropped by chain inet f forward, handle 3: ip saddr @bad drop, as control connections are"},
		{"after the control port", "tcp dport 21 accept\nip saddr @bad drop\n" + accept, 0, 1, "cannot tell whether it gets there: depends on ip saddr"},
		{"in many rules", "tcp dport 21 accept\n" + strings.Repeat("ip saddr 192.0.2.7 drop\n", 9) + accept, 0, 1, "perhaps dropped by 6 more rules"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := examine(t, head+tt.rules+"\t}\n}\n", router, settings(), Ends{})
			var b strings.Builder
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			if r.Problems != tt.problems || r.Warnings != tt.warnings || !strings.Contains(b.String(), tt.want) {
				t.Errorf("want %d problems, %d warnings and %q:\n%s", tt.problems, tt.warnings, tt.want, b.String())
			}
		})
	}
}

// TestHintsThatWork: what the doctor says to add makes the problem go away.
func TestHintsThatWork(t *testing.T) {
	cfg := settings()
	for _, allow := range []config.AllowKind{config.AllowRelated, config.AllowMark} {
		cfg.Allow = allow
		inNamespace(t, file(t, "established-only.nft"), router, func() error {
			r, err := Run(t.Context(), Question{Config: cfg, Asked: true})
			if err != nil {
				return err
			}
			for _, f := range r.Findings {
				for _, h := range f.Hint {
					if !strings.HasPrefix(h, "nft ") || f.Level == OK {
						continue
					}
					if out, err := exec.Command("nft", strings.TrimPrefix(h, "nft ")).CombinedOutput(); err != nil {
						t.Errorf("%s: %v\n%s", h, err, out)
					}
				}
			}
			if r, err = Run(t.Context(), Question{Config: cfg, Asked: true}); err == nil && (r.Problems > 0 || r.Warnings > 0) {
				var b strings.Builder
				_ = r.WriteText(&b)
				t.Errorf("after the hints for --allow %s:\n%s", allow, b.String())
			}
			return err
		})
	}
}

// TestWordsForPrograms: the owner of a chain decides how to change it.
func TestWordsForPrograms(t *testing.T) {
	dropped := func(f rules.Family, table, chain string) []passage {
		ref := rules.ChainRef{Family: f, Table: table, Chain: chain}
		return []passage{{ChainWalk: walk.ChainWalk{Base: ref, Outcomes: []walk.Outcome{{Verdict: walk.Drop, Policy: true}}}}}
	}
	ufw := firewalls{ufw: map[rules.Family]bool{rules.FamilyIPv4: true, rules.FamilyIPv6: true}}
	docker := firewalls{docker: map[rules.Family]bool{rules.FamilyIPv4: true}}
	for _, tt := range []struct {
		name      string
		firewalls firewalls
		allow     config.AllowKind
		walks     []passage
		want      string
	}{
		{"nft", firewalls{}, config.AllowRelated, dropped(rules.FamilyINet, "filter", "forward"), "nft insert rule inet filter forward ct state established,related accept"},
		{"iptables", firewalls{}, config.AllowRelated, dropped(rules.FamilyIPv4, "filter", "FORWARD"), "iptables -I FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"},
		{"ufw", ufw, config.AllowRelated, dropped(rules.FamilyIPv4, "filter", "INPUT"), "in /etc/ufw/before.rules, before COMMIT: -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; then ufw reload"},
		{"ufw, IPv6, mark", ufw, config.AllowMark, dropped(rules.FamilyIPv6, "filter", "FORWARD"), "in /etc/ufw/before6.rules, before COMMIT: -A ufw6-before-forward -m connmark --mark 0x4000000/0x4000000 -j ACCEPT; then ufw reload"},
		{"docker", docker, config.AllowRelated, dropped(rules.FamilyIPv4, "filter", "FORWARD"), "iptables -I DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT (Docker keeps this chain for you)"},
		{"docker, another chain", docker, config.AllowRelated, dropped(rules.FamilyIPv6, "filter", "FORWARD"), "ip6tables -I FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"},
		{"chain", firewalls{}, config.AllowChain, dropped(rules.FamilyINet, "filter", "input"), "pasvport run --allow chain=inet/filter/input"},
	} {
		e := examination{set: &walk.Ruleset{}, cfg: settings(), firewalls: tt.firewalls}
		e.cfg.Allow = tt.allow
		if d := cmp.Diff([]string{tt.want}, e.acceptData(tt.walks)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	e := examination{set: &walk.Ruleset{}, cfg: settings()}
	got := e.acceptControl(dropped(rules.FamilyINet, firewalldTable, "filter_INPUT"), rules.PortRange{Low: 21, High: 21})
	if len(got) != 1 || !strings.Contains(got[0], "firewall-cmd --permanent --add-port=21/tcp") {
		t.Errorf("firewalld: %q", got)
	}
}

// TestLeftTable: a table of ours without a daemon, and a queue of someone else.
func TestLeftTable(t *testing.T) {
	left := "table inet pasvport {\n\tcomment \"pasvport: made and removed by the daemon, do not edit, do not save\"\n}\n"
	r := examine(t, left, nil, settings(), Ends{})
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Topic == topicDaemon && f.Level == Warn && strings.Contains(f.Text, "no daemon has it")
	}) {
		t.Errorf("findings %+v", r.Findings)
	}
	absent := settings()
	absent.Allow = config.AllowChain
	absent.Chains = []rules.ChainRef{{Family: rules.FamilyINet, Table: "no", Chain: "such"}}
	r = examine(t, "", nil, absent, Ends{})
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Level == Problem && strings.Contains(f.Text, "chain inet no such, which does not exist")
	}) {
		t.Errorf("findings %+v", r.Findings)
	}
}

// TestJSON: the data say what the text says.
func TestJSON(t *testing.T) {
	r := examine(t, file(t, "established-only.nft"), router, settings(), Ends{})
	var b bytes.Buffer
	if err := control.WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	var back Report
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	if err := d.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*r, back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	levels := map[Level]int{}
	for _, f := range back.Findings {
		levels[f.Level]++
		if f.Topic == "" || f.Text == "" {
			t.Errorf("finding %+v", f)
		}
	}
	if levels[Problem] != back.Problems || levels[Warn] != back.Warnings || back.Problems == 0 {
		t.Errorf("%d problems, %d warnings, findings by level %v", back.Problems, back.Warnings, levels)
	}
}

// TestVirtualServers: a ruleset that drops what the balancer opens to a server
// would have all of them down.
func TestVirtualServers(t *testing.T) {
	cfg := settings()
	server := func(name string, a ...string) config.Server {
		s := config.Server{Name: name, Port: 2121, Weight: 1}
		for _, text := range a {
			s.Addrs = append(s.Addrs, netip.MustParseAddr(text))
		}
		return s
	}
	cfg.VirtualServers = []config.VirtualServer{
		{Name: "ftp", Check: config.Check{Interval: 1}, Servers: []config.Server{server("one", "10.0.0.1", "fd00::1"), server("two", "10.0.0.2")}},
		{Name: "unchecked", Servers: []config.Server{server("three", "10.0.0.3")}},
	}
	const ruleset = `table inet filter { chain output { type filter hook output priority 0; policy drop; ct state established,related accept; ip daddr 10.0.0.1 tcp dport 2121 accept; %s }; }`
	for _, tt := range []struct {
		accept string
		want   []string
	}{
		{"", []string{
			"problem: checks of server one of virtual server ftp are dropped: accept them in an output chain: ip6 daddr fd00::1 tcp dport 2121 accept",
			"problem: checks of server two of virtual server ftp are dropped: accept them in an output chain: ip daddr 10.0.0.2 tcp dport 2121 accept",
		}},
		{"tcp dport 2121 accept;", []string{"ok: checks of the servers of virtual servers are accepted (3 addresses): "}},
	} {
		var got []string
		for _, f := range examine(t, fmt.Sprintf(ruleset, tt.accept), nil, cfg, Ends{}).Findings {
			if strings.HasPrefix(f.Text, "checks of") {
				got = append(got, fmt.Sprintf("%s: %s: %s", f.Level, f.Text, strings.Join(f.Hint, "; ")))
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%q: findings (-want +got):\n%s", tt.accept, d)
		}
	}
}

// TestAlarms: what is no matter of FTP is no warning, and what decides is said.
func TestAlarms(t *testing.T) {
	const (
		forward = "chain forward { type filter hook forward priority 0; policy drop; "
		stock   = "ct state established,related accept; "
	)
	helper := `ct helper h { type "ftp" protocol tcp; }; `
	for _, tt := range []struct {
		name, ruleset string
		ends          Ends
		problems      int
		warnings      int
		want, not     string
	}{
		{"translated only, and never", "table inet f { " + forward + stock + "ct status dnat accept; }; }", Ends{}, 0, 0,
			"forward, port 21: new control connections are dropped, so there is nothing to do", "only if"},
		{"translated only", "table ip f { chain pre { type nat hook prerouting priority -100; iifname \"wan\" tcp dport 21 dnat to 192.0.2.7; }; " + forward + stock + "ct status dnat accept; }; }", Ends{}, 0, 0,
			"forward, port 21, IPv4: new control connections are accepted only if they are translated", ""},
		{"translated surely", "table ip f { chain pre { type nat hook prerouting priority -100; tcp dport 21 dnat to 192.0.2.7; }; " + forward + stock + "ct status dnat accept; }; }", Ends{}, 0, 0,
			"forward, port 21, IPv4: announced data connections are accepted", "only if"},
		{"translated to another port", "table ip f { chain pre { type nat hook prerouting priority -100; tcp dport 21 dnat to 192.0.2.7:2121; }; " + forward + stock + "tcp dport 2121 accept; }; }", Ends{}, 0, 0,
			"forward, port 21, IPv4: announced data connections are accepted", "nothing to do for sessions that pass through this host\n      dropped by the policy of chain ip f"},
		{"helper behind ours", "table inet f { " + helper + forward + stock + "tcp dport 21 ct helper set \"h\" accept; }; }", Ends{}, 0, 0,
			"given to control connections after pasvport has them", "leaves alone"},
		{"helper before ours", "table inet f { " + helper + "chain pre { type filter hook prerouting priority -180; tcp dport 21 ct helper set \"h\"; }; " + forward + stock + "tcp dport 21 accept; }; }", Ends{}, 1, 0,
			"which pasvport then leaves alone", "after pasvport"},
		{"small segments", "table inet f { chain pre { type filter hook prerouting priority -150; tcp flags syn tcp option maxseg size 1-535 drop; }; " + forward + stock + "tcp dport 21 accept; }; }", Ends{}, 0, 0, "", "insert"},
		{"too many", "table inet f { chain pre { type filter hook prerouting priority -300; tcp flags syn limit rate over 500/second drop; }; " + forward + stock + "tcp dport 21 accept; }; }", Ends{}, 0, 0,
			"unless dropped by chain inet f pre, handle 3: tcp flags syn limit rate over 500/second drop, where too many come", "insert"},
		{"at prerouting", "table inet f { chain pre { type filter hook prerouting priority 0; ip saddr != 192.0.2.0/24 tcp dport 22-65535 drop; }; " + forward + stock + "tcp dport 21 accept; }; }", Ends{}, 0, 3,
			"! nft insert rule inet f pre position 3 ct state established,related accept", "insert rule inet f pre ct"},
		{"before conntrack", "table inet f { chain pre { type filter hook prerouting priority -300; ct state related,established accept; tcp flags & (fin|syn|rst|ack) == syn tcp dport != 21 drop; }; " + forward + stock + "tcp dport 21 accept; }; }", Ends{}, 3, 0,
			"! move this rule of chain inet f pre behind conntrack, to a priority above -200", "nft insert"},
		{"what is there already, with ufw", "table ip filter { chain ufw-before-forward { tcp dport 21 accept; ip daddr 192.0.2.0/24 drop; " + stock + "}; chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-before-forward; }; }", Ends{}, 0, 1,
			"! in /etc/ufw/before.rules, above the line of rule number 2 of its chain: -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; then ufw reload", "COMMIT"},
		{"at a device", "table netdev f { chain in { type filter hook ingress device lo priority -500; tcp dport != 21 tcp flags & (fin|syn|rst|ack) == syn drop; }; }\ntable inet f { " + forward + stock + "tcp dport 21 accept; }; }", Ends{ClientLink: "lo", ServerLink: "lo"}, 4, 0,
			"dropped by chain netdev f in, handle 2: tcp dport != 21", "nft insert"},
		{"at another device", "table netdev f { chain in { type filter hook ingress device lo priority -500; drop; }; }\ntable inet f { " + forward + stock + "tcp dport 21 accept; }; }", Ends{ClientLink: "lan", ServerLink: "wan"}, 0, 0,
			"announced data connections of passive mode are accepted", "netdev"},
		{"at devices of which one may be meant", "table netdev f { chain in { type filter hook ingress device lo priority -500; tcp dport != 21 tcp flags & (fin|syn|rst|ack) == syn drop; }; }\ntable inet f { " + forward + stock + "tcp dport 21 accept; }; }", Ends{}, 0, 3,
			"depends on iifname", "nft insert"},
		{"at devices of which one may be meant, by policy", "table netdev f { chain in { type filter hook ingress device lo priority -500; policy drop; tcp dport 21 accept; }; }\ntable inet f { " + forward + stock + "tcp dport 21 accept; }; }", Ends{}, 0, 3,
			"not seen by chain netdev f in (depends on iifname)", "nft insert"},
		{"what is there already", "table inet f { " + forward + "tcp dport 21 accept; ip daddr 192.0.2.0/24 drop; " + stock + "}; }", Ends{}, 0, 1,
			"! nft insert rule inet f forward position 3 ct state established,related accept", "insert rule inet f forward ct"},
		{"a client elsewhere", "table inet f { chain out { type filter hook output priority 0; ip saddr 192.0.2.9 tcp dport != 21 tcp sport != 21 ct state new drop; }; }", Ends{Client: netip.MustParseAddr("192.0.2.9")}, 0, 0,
			"output: not looked at: --client 192.0.2.9 is not an address of this host", "output, port"},
		{"a server elsewhere", "", Ends{Server: netip.MustParseAddr("192.0.2.9")}, 0, 0,
			"input: not looked at: --server 192.0.2.9 is not an address of this host", "input, port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := examine(t, tt.ruleset, router, settings(), tt.ends)
			portable(r)
			var b strings.Builder
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			if r.Problems != tt.problems || r.Warnings != tt.warnings || !strings.Contains(text, tt.want) || tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("want %d problems, %d warnings and %q, not %q:\n%s", tt.problems, tt.warnings, tt.want, tt.not, text)
			}
		})
	}
}

// TestDoubts: settings and sysctls that are hardly meant are warnings.
func TestDoubts(t *testing.T) {
	cfg := settings()
	cfg.TLSPorts = cfg.Ports
	r := examine(t, "", map[string]string{"net/netfilter/nf_conntrack_events": "0"}, cfg, Ends{})
	for _, want := range []string{"nf_conntrack_events is 0", "control port 21 is one of tls-port as well"} {
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Warn && strings.HasPrefix(f.Text, want) }) {
			t.Errorf("nothing warns that %s: %+v", want, r.Findings)
		}
	}
}

// TestMarkCopied: a ct mark that becomes a packet mark is a problem where routes
// are chosen by it, and no word otherwise.
func TestMarkCopied(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the program ip")
	}
	cfg := settings()
	cfg.Allow = config.AllowMark
	for _, tt := range []struct {
		rule string
		want string
	}{
		{"", ""},
		{"fwmark 0x6f/0xff table 100", ""},
		{"fwmark 0x6f table 100", "ip rule 32765: fwmark 0x6f/0xffffffff lookup 100"},
	} {
		inNamespace(t, "table inet m { chain p { type filter hook prerouting priority -50; meta mark set ct mark; }; }", nil, func() error {
			if tt.rule != "" {
				if out, err := exec.Command("ip", append([]string{"rule", "add"}, strings.Fields(tt.rule)...)...).CombinedOutput(); err != nil {
					return fmt.Errorf("ip rule: %w: %s", err, out)
				}
			}
			r, err := Run(t.Context(), Question{Config: cfg, Asked: true})
			if err != nil {
				return err
			}
			i := slices.IndexFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.Text, "copied into the packet mark") })
			switch {
			case tt.want == "" && i >= 0:
				t.Errorf("%q: %+v", tt.rule, r.Findings[i])
			case tt.want != "" && (i < 0 || r.Findings[i].Level != Problem || !strings.Contains(r.Findings[i].Text, tt.want)):
				t.Errorf("%q: want a problem with %q: %+v", tt.rule, tt.want, r.Findings)
			}
			return nil
		})
	}
}
