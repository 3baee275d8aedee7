// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/integration/stage"
)

var update = flag.Bool("update", false, "write the golden files")

// textConfigs are the configurations with a golden file each.
var textConfigs = []struct {
	name string
	c    Config
}{
	{"default", Config{}},
	{"claim", Config{Carrier: CarrierBare, Claim: true, FastPath: FastPathAny}},
	{"bare-table", Config{Carrier: CarrierNone, Table: "ftp-2", Mark: 1}},
	{"everything", Config{
		Table:      "pv2",
		Ports:      []PortRange{{2121, 2121}, {21, 21}, {990, 1000}, {1001, 1001}, {65000, 65535}},
		QueueNum:   100,
		Queues:     4,
		FailClosed: true,
		Mark:       0x10,
		FewEvents:  true,
		Claim:      true,
		Chains: []ChainRef{
			{FamilyINet, "filter", "forward"},
			{FamilyIPv6, "six", "pass"},
			{FamilyIPv4, "four", "pass"},
			{FamilyINet, "filter", "input"},
			{FamilyINet, "filter", "forward"},
		},
		PinholeTimeout: 90500 * time.Millisecond,
		Stale:          true,
		OneZone:        true,
		Bare:           true,
		PeerPorts:      PortRange{50000, 50100},
		Block:          true,
	}},
	{"watch", Config{Watch: true, Claim: true, Mark: 1, Stale: true, Bare: true, FailClosed: true, Queues: 2,
		Chains: []ChainRef{{FamilyINet, "filter", "forward"}}}},
	{"one-way", Config{Claim: true, OneWay: true}},
	{"virtual-servers", Config{Claim: true, VirtualServers: virtualServers}},
}

// virtualServers are a virtual server with two families, one server of which has
// no slot, and one without servers.
var virtualServers = []VirtualServer{
	{Name: "ftp", Listen: ends("203.0.113.171:21", "203.0.113.172:21"), Slots: ends("10.0.0.1:21", "10.0.0.2:21", "10.0.0.1:21", "10.0.0.3:2121", "10.0.0.1:21", "10.0.0.2:21")},
	{Name: "ftp", Listen: ends("[2001:db8::171]:21"), BySource: true, Slots: ends("[fd00::1]:21", "[fd00::2]:21", "[fd00::1]:21")},
	{Name: "none", Listen: ends("203.0.113.171:2121"), Slots: make([]netip.AddrPort, 3)},
}

func ends(list ...string) (all []netip.AddrPort) {
	for _, a := range list {
		all = append(all, netip.MustParseAddrPort(a))
	}
	return all
}

func TestTextGolden(t *testing.T) {
	for _, tt := range textConfigs {
		t.Run(tt.name, func(t *testing.T) {
			got, file := Text(tt.c), filepath.Join("testdata", tt.name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("Text (-want +got):\n%s", d)
			}
		})
	}
}

// adminRuleset has the chains that textConfigs name.
const adminRuleset = `
table inet filter {
	chain input { type filter hook input priority 0; policy accept; ct state established accept; };
	chain forward { type filter hook forward priority 0; policy accept; tcp dport 22 accept comment "pasvport"; };
}
table ip four { chain pass { type filter hook forward priority 1; counter; }; }
table ip6 six { chain pass { type filter hook forward priority 1; counter; }; }
`

var (
	nftError  = regexp.MustCompile(`Error: .*`)
	queueText = regexp.MustCompile(` queue (flags bypass )?to [0-9]+`)
	// The target as nft prints it: with the extension or without, and with what
	// libxtables prints on standard error in between.
	queueTarget = regexp.MustCompile(` (libxtables: .*\n)?(xt target "NFQUEUE"|XT target NFQUEUE not found\n\t*|queue num [0-9]+( bypass)?)`)
	warning     = regexp.MustCompile(`(?m)^# Warning: table .*\n`)
	notYetRead  = regexp.MustCompile(`(?s)\n\tct expectation \S+ \{.*?\n\t\}\n`)
	setBare     = regexp.MustCompile(`(?m)^.* ct expectation set .*\n`)
)

// loadable is text without the parts that this kernel or this nft lacks, and
// their names.
func loadable(t *testing.T, n stage.Namespace, text string) (string, []string) {
	t.Helper()
	var cut []string
	if testQueue(t, n) != QueueNative {
		text = queueText.ReplaceAllString(text, "")
		cut = append(cut, "queue statements: the kernel has no CONFIG_NFT_QUEUE")
	}
	if strings.Contains(text, "size 0") {
		if out, err := n.Nft("table inet x { ct expectation e { protocol tcp; dport 1; timeout 1s; size 0; l3proto ip; }; }", "-c"); err != nil {
			text = setBare.ReplaceAllString(notYetRead.ReplaceAllString(text, ""), "")
			cut = append(cut, "ct expectation objects of size 0: "+strings.TrimSpace(out))
		}
	}
	return text, cut
}

// nft must accept what Text prints, and accept it again.
func TestTextLoads(t *testing.T) {
	for _, tt := range textConfigs {
		t.Run(tt.name, func(t *testing.T) {
			n := stage.New(t)
			n.Load(t, adminRuleset)
			text, cut := loadable(t, n, Text(tt.c))
			t.Logf("left out: %q", cut)
			if out, err := n.Nft(text, "-c"); err != nil {
				t.Fatalf("nft -c: %v\n%s\n%s", err, out, stage.Numbered(text))
			}
			n.Load(t, text)
			n.Load(t, text)
			// nft must at least parse what was left out, except for the one thing
			// that it is known not to parse.
			if strings.Contains(Text(tt.c), "size 0") {
				return
			}
			out, _ := n.Nft(Text(tt.c), "-c")
			for _, m := range nftError.FindAllString(out, -1) {
				if m != "Error: Could not process rule: No such file or directory" {
					t.Errorf("nft -c of all: %s", m)
				}
			}
		})
	}
}

// What Install sends and what Text prints must be the same ruleset.
func TestInstallIsText(t *testing.T) {
	for _, tt := range textConfigs {
		t.Run(tt.name, func(t *testing.T) {
			a, b := stage.New(t), stage.New(t)
			kind := testQueue(t, a)
			a.Load(t, adminRuleset)
			b.Load(t, adminRuleset)
			text, cut := loadable(t, a, Text(tt.c))
			t.Logf("not compared: %q", cut)
			a.Load(t, text)
			c := tt.c
			c.Queue, c.FastPath = kind, 0 // see program_test.go
			installed(t, b, c)
			want := normal(a.Run(t, "nft", "-s", "list", "ruleset"), kind)
			got := normal(b.Run(t, "nft", "-s", "list", "ruleset"), kind)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("nft list ruleset (-nft -f +Install):\n%s", d)
			}
		})
	}
}

// normal removes from a listing what loadable removes from a text.
func normal(list string, kind QueueKind) string {
	if kind != QueueNative {
		list = queueTarget.ReplaceAllString(list, "")
	}
	list = warning.ReplaceAllString(list, "")
	return setBare.ReplaceAllString(notYetRead.ReplaceAllString(list, ""), "")
}
