// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/integration/stage"
)

// TestIdle: a chain in which a rule cannot let a data connection through is
// recognised.
func TestIdle(t *testing.T) {
	n := stage.New(t)
	n.Load(t, `
add table inet x
add chain inet x forward { type filter hook forward priority filter; policy drop; }
add chain inet x raw-forward { type filter hook forward priority raw; policy drop; }
add chain inet x jumped
add chain inet x dstnat { type nat hook prerouting priority dstnat; }
add chain inet x srcnat { type nat hook postrouting priority srcnat; }
add chain inet x raw { type filter hook prerouting priority raw; }
add chain inet x mangle { type filter hook prerouting priority mangle; }
add chain inet x raw-output { type filter hook output priority raw; }
add chain inet x output { type route hook output priority mangle; }
add chain inet x ingress { type filter hook ingress device lo priority filter; }
`)
	f := open(t, n, Config{Queue: testQueue(t, n)})
	for chain, want := range map[string]string{
		"forward": "", "raw-forward": "", "jumped": "", "mangle": "", "output": "",
		"dstnat": "type nat", "srcnat": "type nat", "raw": "priority is -300", "raw-output": "priority is -300", "ingress": "hook ingress",
	} {
		why, err := f.conn.idle(ChainRef{FamilyINet, "x", chain})
		if err != nil || (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s: %q, %v, want %q", chain, why, err, want)
		}
	}
	if _, err := f.conn.idle(ChainRef{FamilyINet, "x", "none"}); !errors.Is(err, ErrNoChain) {
		t.Errorf("a chain that does not exist: %v", err)
	}
}
