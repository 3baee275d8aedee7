// SPDX-License-Identifier: Apache-2.0

package expect

import "testing"

// Marks and sequence adjustment are found where they are, and nothing is left
// behind.
func TestKernelProbeExtensions(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	var x Extensions
	var err error
	n.in("r", func() { x, err = ProbeExtensions() })
	must(t, err)
	if !x.SeqAdj.OK || !x.Mark.OK {
		t.Errorf("sequence adjustment %v, mark %v: want both", x.SeqAdj.Err, x.Mark.Err)
	}
	c := n.dial()
	must(t, c.DumpTo([]PortRange{{0, 65535}}, func(e *Entry) { t.Errorf("left behind: %+v", e) }))
}
