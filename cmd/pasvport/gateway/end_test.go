// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/expect"
)

// sent are the resets that were sent.
type sent struct {
	to     []expect.Tuple
	seq    []uint32
	err    error
	closed bool
}

func (s *sent) Close() { s.closed = true }

func (s *sent) Reset(t expect.Tuple, from *keepalive.End) error {
	s.to, s.seq = append(s.to, t), append(s.seq, from.Next)
	return s.err
}

// TestEnd: both ends are reset with the numbers that they expect.
func TestEnd(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.accepts(server, "220 ready\r\n")
	n := &b.w.ender
	r := l.session().Acquire(&b.w.work)
	var out sent
	if err := n.end(r, &out); err == nil || len(out.to) > 0 {
		t.Errorf("an end that has sent nothing: %v, %v", err, out.to)
	}
	r.Release()
	l.accepts(client, "USER ada\r\n")
	r = l.session().Acquire(&b.w.work)
	defer r.Release()
	if err := n.end(r, &out); err != nil || len(out.to) != 2 || out.to[1] != l.entry.Reply || out.seq[0] != l.next[client] || out.seq[1] != l.next[server] {
		t.Errorf("%v: %+v, want the numbers %v", err, out, l.next)
	}
	b.logs(`msg="control connection ended by hand"`)
	out.err = errors.New("no route")
	if err := n.end(r, &out); !errors.Is(err, out.err) {
		t.Errorf("%v, want the sender's error", err)
	}
}

// TestEndByID: a session is ended by its worker, and only if it exists, has sent
// something, and is not only monitored.
func TestEndByID(t *testing.T) {
	for _, tt := range []struct {
		name   string
		id     uint64
		edit   func(*bench)
		resets int
	}{
		{"there", 1, func(*bench) {}, 2},
		{"another", 2, func(*bench) {}, 0},
		{"monitored", 1, func(b *bench) { b.registry.session(entryOf(1).Original).Owner.Monitored = true }, 0},
		{"no packet came", 3, func(b *bench) { b.registry.orphans.Add(newSession(entryOf(3))) }, 0},
		{"it goes on in another session", 1, func(b *bench) { b.registry.session(entryOf(1).Original).Acquire(&b.w.work) }, 0},
		{"no socket", 1, func(b *bench) { b.w.ender.open = func() (resetter, error) { return nil, errBroken } }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.connect(entryOf(1)).logIn()
			out := new(sent)
			b.w.ender.open = func() (resetter, error) { return out, nil }
			tt.edit(b)
			ended := make(chan error)
			go func() { ended <- b.g.End(tt.id) }()
			var err error
			for waiting := true; waiting; {
				select {
				case err = <-ended:
					waiting = false
				case <-b.q.wakes: // as the queue does
					if b.w.Deadline() != overdue {
						t.Error("the worker does not wake for the call")
					}
					b.w.Wake(time.Now())
				}
			}
			if len(out.to) != tt.resets || (err == nil) != (tt.resets > 0) {
				t.Errorf("%d resets, %v", len(out.to), err)
			}
			if tt.resets > 0 && !out.closed {
				t.Error("the socket is still open")
			}
		})
	}
}
