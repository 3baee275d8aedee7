// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"net/netip"
	"testing"
	"time"
)

// operation is one call, or a pair of calls that leave conntrack as it was.
type operation struct {
	name string
	do   func() error
}

// operations are those of the packet path, on a live control connection, and the
// socket that they use.
func operations(t testing.TB) (*Conn, []operation) {
	n := newNetwork(t, carrierSane, true, true)
	c := n.dial()
	ctl, control := n.control(ipv6, true)
	reply := Tuple{Src: localAddr(ctl.far), Dst: remoteAddr(ctl.far)}
	x := passive(ipv6, control, true, 40000)
	timed := x
	x.Timeout, timed.Timeout = 0, time.Minute
	claim := Claim{
		Original: control.shift(), Master: control, Mark: controlMark, Timeout: time.Minute,
		DNAT: netip.AddrPortFrom(ipv6.server, 40000), SNAT: netip.AddrPortFrom(ipv6.outside, 0),
	}
	var pos uint32
	return c, []operation{
		{"Get", func() error { _, err := c.Get(reply); return err }},
		{"CreateExpectation+Delete", func() error {
			if err := c.CreateExpectation(x); err != nil {
				return err
			}
			return c.DeleteExpectation(control, x.Tuple())
		}},
		{"CreateExpectation with a timeout+Delete", func() error {
			if err := c.CreateExpectation(timed); err != nil {
				return err
			}
			return c.DeleteExpectation(control, timed.Tuple())
		}},
		{"Claim+Delete", func() error {
			if err := c.Claim(claim); err != nil {
				return err
			}
			return c.Delete(claim.Original)
		}},
		{"SetSeqAdj", func() error {
			pos++
			_, err := c.SetSeqAdj(control, Original, SeqAdj{Pos: pos, After: 3})
			return err
		}},
		{"UpdateMark", func() error { return c.UpdateMark(control, 0, 1) }},
		{"UpdateTimeout", func() error { return c.UpdateTimeout(control, time.Hour) }},
	}
}

func TestKernelOperationsDoNotAllocate(t *testing.T) {
	_, ops := operations(t)
	for _, op := range ops {
		var err error
		allocs := testing.AllocsPerRun(50, func() {
			if e := op.do(); e != nil {
				err = e
			}
		})
		if err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
		if allocs != 0 {
			t.Errorf("%s: %v allocations, want none", op.name, allocs)
		}
	}
}

// traffic is the number of messages and system calls of a socket.
type traffic struct {
	requests      uint32
	writes, reads int
}

// count counts the traffic of c from now on.
func (tr *traffic) count(c *Conn) {
	write, receive := c.write, c.receive
	c.write = func(fd int, b []byte) (int, error) { tr.writes++; return write(fd, b) }
	c.receive = func(fd int, b []byte) (int, error) { tr.reads++; return receive(fd, b) }
}

// TestKernelMessagesPerOperation counts messages and system calls: packets wait
// for each of them, so more is a regression. Where fewer seem possible, the
// reason is with the operation.
func TestKernelMessagesPerOperation(t *testing.T) {
	want := map[string]traffic{
		"Get":                      {1, 1, 1},
		"CreateExpectation+Delete": {3, 3, 3},
		// The timeout is a request of its own, sent once the first has been
		// answered: if the tuple was already expected it would change that
		// expectation.
		"CreateExpectation with a timeout+Delete": {4, 4, 4},
		"Claim+Delete":  {2, 2, 2},
		"SetSeqAdj":     {2, 1, 1},
		"UpdateMark":    {1, 1, 1},
		"UpdateTimeout": {1, 1, 1},
	}
	c, ops := operations(t)
	var tr traffic
	tr.count(c)
	for _, op := range ops {
		first := c.seq
		tr = traffic{}
		if err := op.do(); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
		tr.requests = c.seq - first
		if tr != want[op.name] {
			t.Errorf("%s: %+v, want %+v", op.name, tr, want[op.name])
		}
	}
}

func BenchmarkKernel(b *testing.B) {
	_, ops := operations(b)
	for _, op := range ops {
		b.Run(op.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := op.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseEntry(b *testing.B) {
	m, _, err := parseAnswer(readHex(b, "entry_control4"))
	must(b, err)
	b.ReportAllocs()
	var e Entry
	for b.Loop() {
		if _, err := parseEntry(&e, m.attrs()); err != nil {
			b.Fatal(err)
		}
	}
}
