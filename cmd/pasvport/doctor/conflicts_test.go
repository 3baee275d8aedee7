// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// TestConflictWords: each kind of conflict has its own text, which names the rule
// and what to do.
func TestConflictWords(t *testing.T) {
	at := walk.RuleRef{Chain: rules.ChainRef{Family: rules.FamilyINet, Table: "filter", Chain: "pre"}, Handle: 7}
	firewalld := at
	firewalld.Chain.Table = firewalldTable
	seen := map[string]bool{}
	for _, tt := range []struct {
		c    walk.Conflict
		text string
		hint string // empty: there is nothing to do
	}{
		{walk.Conflict{Kind: walk.ConflictHelper, At: at, Name: "ftp"}, `the helper "ftp" of the kernel is given`, "nft delete rule inet filter pre handle 7"},
		{walk.Conflict{Kind: walk.ConflictHelper, At: firewalld, Name: "ftp-21"}, `the helper "ftp-21"`, "firewall-cmd --permanent --remove-service=ftp"},
		{walk.Conflict{Kind: walk.ConflictLate, At: at, Name: "ftp"}, "which the kernel ignores", ""},
		{walk.Conflict{Kind: walk.ConflictNotrack, At: at}, "packets of FTP are not tracked", "tcp dport != 21-21 tcp sport != 21-21"},
		{walk.Conflict{Kind: walk.ConflictZone, At: at}, "conntrack zone", "CONFIG_NETFILTER_NETLINK_GLUE_CT"},
		{walk.Conflict{Kind: walk.ConflictFlow, At: at, Name: "fast"}, `the flowtable "fast"`, "--carrier auto"},
		{walk.Conflict{Kind: walk.ConflictMark, At: at}, "pasvport's bit of the ct mark (0x04000000) is overwritten", "ct mark & 0x04000000"},
		{walk.Conflict{Kind: walk.ConflictRead, At: at}, "compared as a whole", "ct mark & 0xfbffffff"},
		{walk.Conflict{Kind: walk.ConflictCopy, At: at}, "routes are chosen by it: fwmark 1", "meta mark set ct mark & 0xfbffffff"},
		{walk.Conflict{Kind: walk.ConflictQueue, At: at, Queue: 2121}, "sent to queue 2121", "--queue-num"},
		{walk.Conflict{Kind: walk.ConflictHook, At: at}, "just where pasvport reads them", "a priority above -100"},
	} {
		e := &examination{cfg: settings(), routed: []string{"fwmark 1"}}
		e.cfg.Allow = config.AllowMark
		text, hints := e.conflict(tt.c)
		if all := strings.Join(hints, " | "); !strings.Contains(text, tt.text) || !strings.Contains(all, tt.hint) || tt.hint == "" && all != "" {
			t.Errorf("%+v: %s | %s", tt.c, text, all)
		}
		if seen[text] {
			t.Errorf("two kinds have the text %q", text)
		}
		seen[text] = true
	}
}

// TestOtherThan: a single port is a range, which nft compares correctly.
func TestOtherThan(t *testing.T) {
	for want, ports := range map[string][]string{"21-21": {"21"}, "21-22": {"21-22"}, "{ 21, 2121 }": {"21", "2121"}} {
		if got := otherThan(ports); got != want {
			t.Errorf("%v: %s, want %s", ports, got, want)
		}
	}
}
