// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The probe finds out what the kernel supports and leaves nothing behind.
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
	must(t, c.DumpTo([]PortRange{{0, 65535}}, func(e *Entry) { t.Errorf("left behind: %+v", e) }))
	must(t, c.DumpExpectations(func(x *ExpectationInfo) { t.Errorf("left behind: %+v", x) }))
}

// The probe makes way for entries of its addresses that are there: conntrackd brings
// those of the daemon of another machine, or our own after we have deleted them.
func TestKernelProbeAmongOthers(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	var f Features
	x, y := newTrial("192.0.2.1", "198.51.100.1"), newTrial("192.0.2.1", "198.51.100.1")
	must(t, x.withControl(c, "", func() error {
		return y.withControl(c, "", func() (err error) { // with the next ports
			n.in("r", func() { f, err = Probe() })
			return err
		})
	}))
	if !f.Conntrack.OK || !f.Claim4.OK || !f.Sane4.OK {
		t.Errorf("%+v", f)
	}
}

// The probe needs no ruleset in the namespace.
func TestKernelProbeInEmptyNamespace(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	var f Features
	var err error
	n.in("s", func() { f, err = Probe() }) // a namespace without any ruleset
	must(t, err)
	if !f.Claim4.OK || !f.Sane4.OK {
		t.Errorf("claim %v, sane %v: want both to work before any rule is installed", f.Claim4.Err, f.Sane4.Err)
	}
}

// CAP_NET_ADMIN is enough for everything, and nothing works without it.
func TestKernelRights(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	for _, tc := range []struct {
		name string
		caps uint32
		want error
	}{
		{"only CAP_NET_ADMIN", 1 << unix.CAP_NET_ADMIN, nil},
		{"all but CAP_NET_ADMIN", ^uint32(1 << unix.CAP_NET_ADMIN), unix.EPERM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f Features
			var probe, listening error
			n.in("r", func() { // a thread that is not reused
				if probe = limitRights(tc.caps); probe != nil {
					return
				}
				f, probe = Probe()
				var e *Events
				if e, listening = Listen([]PortRange{{21, 21}}); listening == nil {
					e.Close()
				}
			})
			wantErr(t, "probe", probe, tc.want)
			wantErr(t, "listen", listening, tc.want)
			if ok := f.Sane4.OK && f.Sane6.OK && f.Claim4.OK && f.Claim6.OK; ok != (tc.want == nil) {
				t.Errorf("features %+v", f)
			}
		})
	}
}

// limitRights removes from the calling thread all capabilities except some of the
// first 32.
func limitRights(keep uint32) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return err
	}
	d[0].Effective &= keep
	d[0].Permitted &= keep
	d[1] = unix.CapUserData{}
	return unix.Capset(&h, &d[0])
}
