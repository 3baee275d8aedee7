// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// joined is a gateway that has not seen the start of the connection.
func joined(ep Endpoints) *gateway {
	return &gateway{c: NewConn(ep, &Policy{}, Options{AdjustBy: Kernel})}
}

// resumed is the gateway after a restart: the new engine knows what the kernel
// keeps.
func (g *gateway) resumed(ep Endpoints) *gateway {
	next := &gateway{kernel: g.kernel, shift: g.shift}
	next.c = NewConn(ep, &Policy{}, Options{
		AdjustBy: Kernel, Adjusted: [2]Adjustment{g.kernel[Original].adj, g.kernel[Reply].adj},
	})
	next.c.Continue(nil, true)
	return next
}

// An edited segment is retransmitted after a restart, in one piece or after
// others: its receiver must get the same bytes at the same place, and what
// follows must join.
func TestResumeRepeatedEdit(t *testing.T) {
	port1, port2 := "PORT 192,168,1,5,200,1\r\n", "PORT 192,168,1,5,200,2\r\n"
	const start = 1000
	for _, tt := range []struct {
		name   string
		before []string // edits before the one that is repeated
	}{
		{"first edit", nil},
		{"second edit", []string{port1}},
		{"third edit", []string{port1, "NOOP\r\n", port1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := joined(snat)
			seq := uint32(start)
			for _, line := range tt.before {
				g.segment(Original, seq, []byte(line))
				seq += uint32(len(line))
			}
			once := g.segment(Original, seq, []byte(port2))
			kernel := g.kernel
			next := g.resumed(snat)
			for range 2 {
				if d := cmp.Diff(once, next.segment(Original, seq, []byte(port2)), cmp.AllowUnexported(segment{})); d != "" {
					t.Errorf("repeated after a restart (-once +again):\n%s", d)
				}
			}
			if next.kernel != kernel {
				t.Errorf("the kernel was told again: %+v, was %+v", next.kernel, kernel)
			}
			behind := next.segment(Original, seq+uint32(len(port2)), []byte("NOOP\r\n"))
			if want := once[0].seq + uint32(len(once[0].p)); len(behind) != 1 || behind[0].seq != want {
				t.Errorf("what follows is %+v, want it at %d", behind, want)
			}
		})
	}
}

// A new edit after a restart is a different one, even if it changes the length by
// as much as the last.
func TestResumeNewEdit(t *testing.T) {
	line := "PORT 192,168,1,5,200,1\r\n"
	g := joined(snat)
	once := g.segment(Original, 1000, []byte(line))
	next := g.resumed(snat)
	seq := uint32(1000 + len(line))
	again := next.segment(Original, seq, []byte(line))
	if want := once[0].seq + uint32(len(once[0].p)); len(again) != 1 || again[0].seq != want || string(again[0].p) != string(once[0].p) {
		t.Errorf("second edit %+v, want it at %d", again, want)
	}
	behind := next.segment(Original, seq+uint32(len(line)), []byte("NOOP\r\n"))
	if want := again[0].seq + uint32(len(again[0].p)); behind[0].seq != want {
		t.Errorf("what follows is at %d, want %d", behind[0].seq, want)
	}
}

// The client has sent PASV, the daemon dies, the server answers.
func TestResumeBetweenPASVAndReply(t *testing.T) {
	g := joined(dnat)
	g.segment(Original, 1, []byte("PASV\r\n"))
	next := g.resumed(dnat)
	line := []byte("227 Entering Passive Mode (10,0,0,2,200,1).\r\n")
	out := next.segment(Reply, 1, line)
	if len(out) != 1 || !strings.Contains(string(out[0].p), "203,0,113,1,200,1") {
		t.Fatalf("%+v, offers: %q", out, next.log)
	}
	next.segment(Reply, 1+uint32(len(line)), []byte("227 Entering Passive Mode (10,0,0,2,200,2).\r\n"))
	if last := next.log[len(next.log)-1]; last != "refused unasked-reply 227" {
		t.Errorf("a second answer to one question: %q", next.log)
	}
}

// TestStateHasAdjustment: a state has the adjustment of a change before that is
// forwarded.
func TestStateHasAdjustment(t *testing.T) {
	c := NewConn(shrinkActive, &Policy{}, Options{AdjustBy: Kernel})
	acked(c, Original, 0)
	at := uint32(0)
	for _, line := range []string{"NOOP\r\n", "PORT 192,168,100,200,200,10\r\n", "NOOP\r\n", "PORT 192,168,100,200,200,11\r\n"} {
		d := take(c, Original, at, []byte(line))
		for _, e := range d.Events {
			if r := c.Announce(e.Offer, 51210); r != ReasonPlain {
				t.Fatal(r)
			}
		}
		state := c.State()
		w := rewrite(c, nil, Original, at, []byte(line))
		if by, known := state.Adjustment(Original); !known || w.Set && by != w.Adjust {
			t.Errorf("%q: %+v (%v), but the kernel is told %+v", line, by, known, w.Adjust)
		}
		at += uint32(len(line))
		acked(c, Original, uint32(int32(at)+w.Adjust.After))
	}
}
