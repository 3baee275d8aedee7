// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A connection continues with an entry that was made again after conntrack
// had forgotten it, whoever speaks first.
func TestKernelRestore(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	c := n.dial()
	p, control := n.control(ipv4, false)
	must(t, c.Delete(control))
	x := Forgotten{Original: control, Mark: 0x04000000, Timeout: time.Minute}
	must(t, c.Restore(x))
	e, err := c.Get(control)
	must(t, err)
	if e.TCPState != TCPStateEstablished || e.Mark != x.Mark || e.Reply != control.Reverse() ||
		e.Status&(StatusSeenReply|StatusAssured) != StatusSeenReply|StatusAssured {
		t.Errorf("restored as %+v", e)
	}
	wantErr(t, "there again", c.Restore(x), unix.EEXIST)
	p.talk(t)
	if again, err := c.Get(control); err != nil || again.ID != e.ID {
		t.Errorf("after talking: %+v, %v; want the entry with id %d", again, err, e.ID)
	}
}
