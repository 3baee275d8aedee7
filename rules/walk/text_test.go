// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/integration/stage"
)

// TestWords: rules can be told apart even without the program nft.
func TestWords(t *testing.T) {
	n := stage.New(t)
	for _, tt := range []struct{ rule, want string }{
		{"ct state established,related accept", "ct state & 0x00000006 != 0x00000000 accept"},
		{`iifname "lan" tcp dport 21 notrack`, `iifname == "lan" meta l4proto == 6 tcp dport == 21 notrack`},
		{"ip saddr 192.0.2.7 counter drop", "meta nfproto == 2 ip saddr == 192.0.2.7 drop"},
		{"ct mark set 0x1", "ct mark set 0x00000001"},
		{"ct mark set ct mark | 0x08000000", "ct mark set (ct mark & 0xf7ffffff) ^ 0x08000000"},
		{"ct mark & 0x04000000 == 0x04000000 accept", "ct mark & 0x04000000 == 0x04000000 accept"},
		{"meta mark set ct mark", "meta mark set ct mark"},
		{"tcp dport @s jump sub", "meta l4proto == 6 tcp dport @s jump sub"},
		{"tcp dport 1024-2000 reject", "meta l4proto == 6 tcp dport >= 1024 tcp dport <= 2000 reject"},
		{`log prefix "x" limit rate 3/second return comment "why"`, `log limit return comment "why"`},
	} {
		r := read(t, n, inForward("drop", tt.rule))
		chain := r.chains[forward]
		if d := cmp.Diff(tt.want, r.Words(RuleRef{forward, chain.rules[0].handle})); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.rule, d)
		}
	}
	if got := (&Ruleset{}).Words(RuleRef{Chain: forward, Handle: 7}); got != "" {
		t.Errorf("a rule that does not exist: %q", got)
	}
}
