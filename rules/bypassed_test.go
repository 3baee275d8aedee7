// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"testing"
)

// TestBypassed: where something takes packets past conntrack, the answer to a SYN is
// let pass, and everything else that conntrack cannot place is dropped as before.
func TestBypassed(t *testing.T) {
	for _, bypassed := range []bool{false, true} {
		c := Config{Table: "pasvport", Ports: []PortRange{{21, 21}}, QueueNum: 1, Queues: 1, Bypassed: bypassed}
		text := Text(c)
		for line, want := range map[string]bool{
			"ct state invalid tcp dport @control_ports counter drop":                                true,
			"ct state invalid tcp sport @control_ports counter drop":                                !bypassed,
			"ct state invalid tcp flags & (syn | rst) == 0x0 tcp sport @control_ports counter drop": bypassed,
		} {
			if strings.Contains(text, line) != want {
				t.Errorf("bypassed %v: %q is there: %v", bypassed, line, !want)
			}
		}
	}
}
