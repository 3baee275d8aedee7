// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The probe tells what the kernel can and leaves nothing behind.
func TestKernelProbe(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	var f Features
	var err error
	n.in("r", func() { f, err = Probe() })
	must(t, err)
	for name, got := range map[string]Feature{
		"conntrack": f.Conntrack, "sane, IPv4": f.Sane4, "sane, IPv6": f.Sane6,
		"claim, IPv4": f.Claim4, "claim, IPv6": f.Claim6,
	} {
		if !got.OK {
			t.Errorf("%s: %v", name, got.Err)
		}
	}
	wantErr(t, "bare", f.Bare.Err, unix.EOPNOTSUPP)
	c := n.dial()
	must(t, c.Dump(0, 0, func(e *Entry) { t.Errorf("left behind: %+v", e) }))
	must(t, c.DumpExpectations(func(x *ExpectationInfo) { t.Errorf("left behind: %+v", x) }))
}

// The probe needs no ruleset in the namespace.
func TestKernelProbeInEmptyNamespace(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	var f Features
	var err error
	n.in("s", func() { f, err = Probe() }) // a namespace without any ruleset
	must(t, err)
	if !f.Claim4.OK || !f.Sane4.OK {
		t.Errorf("claim %v, sane %v: want both to work before any rule is there", f.Claim4.Err, f.Sane4.Err)
	}
}
