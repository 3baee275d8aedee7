// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel keeps the flag in both directions, and the TCP state.
func TestKernelSetLiberal(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	c := n.dial()
	p, control := n.control(ipv4, false)
	if o, r := tcpFlags(t, c, control); (o|r)&tcpFlagBeLiberal != 0 {
		t.Skip("needs net.netfilter.nf_conntrack_tcp_be_liberal = 0")
	}
	must(t, c.SetLiberal(control))
	if o, r := tcpFlags(t, c, control); o&r&tcpFlagBeLiberal == 0 {
		t.Errorf("flags %#x, %#x; want %#x in both", o, r, tcpFlagBeLiberal)
	}
	e, err := c.Get(control)
	must(t, err)
	if e.TCPState != TCPStateEstablished || !e.Liberal {
		t.Errorf("TCP state %d liberal %t, want it unchanged and liberal", e.TCPState, e.Liberal)
	}
	p.talk(t)
	wantErr(t, "no connection", c.SetLiberal(control.shift()), unix.ENOENT)
}

// tcpFlags reads conntrack's flags of each direction, which Entry leaves out.
func tcpFlags(t *testing.T, c *Conn, original Tuple) (o, r uint8) {
	t.Helper()
	_, err := c.Get(original)
	must(t, err)
	m, _, err := parseAnswer(c.in)
	must(t, err)
	for a := (attrs{rest: m.attrs()}); a.next(); {
		if a.typ != ctaProtoinfo {
			continue
		}
		for info := (attrs{rest: a.val}); info.next(); {
			for tcp := (attrs{rest: info.val}); tcp.next(); {
				switch tcp.typ {
				case ctaProtoinfoTCPFlagsOriginal:
					o = tcp.u8()
				case ctaProtoinfoTCPFlagsReply:
					r = tcp.u8()
				}
			}
		}
	}
	return o, r
}
