// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/expect"
)

// TestIdleReports: why a silent session was ended is said, and kept for its end.
func TestIdleReports(t *testing.T) {
	for cause, words := range map[keepalive.Cause][]string{
		keepalive.CauseIdle:       {`msg="idle control connection reset"`, "idle=1m0s"},
		keepalive.CauseClientGone: {`msg="control connection reset, one end is gone"`, "gone=client"},
		keepalive.CauseServerGone: {`msg="control connection reset, one end is gone"`, "gone=server"},
	} {
		b := newBench(t, nil)
		i := &idle{services: b.services, registry: b.registry}
		s := newSession(entryOf(1))
		i.ended(s, cause, time.Minute)
		b.logs(words...)
		b.ending(b.k, s, expect.TCPStateClose)
		if b.logs(`msg="session ended"`, cause.String()); cause.String() == "" {
			t.Error("the cause has no name")
		}
		i.notSent(s, false, errors.New("odd"))
		b.logs("level=DEBUG", `msg="keep-alive not sent"`)
		i.notSent(s, true, errors.New("odd"))
		b.logs("level=WARN", `msg="reset not sent"`)
		i.notRefreshed(&s.Owner, errors.New("odd"))
		b.logs(`msg="cannot refresh a control connection's timeout"`, "session=1")
		if i.watch(t.Context()) != nil {
			t.Error("it does not end where there is nothing to do")
		}
	}
}

// sent are the resets that were sent.
type sent struct {
	to  []expect.Tuple
	seq []uint32
	err error
}

func (s *sent) Reset(t expect.Tuple, from *keepalive.End) error {
	s.to, s.seq = append(s.to, t), append(s.seq, from.Next)
	return s.err
}

// TestEnd: both ends are reset with the numbers that they wait for.
func TestEnd(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.accepts(server, "220 ready\r\n")
	n := &ender{b.services}
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

// TestEndByID: only a session that is there, and of which something came, can be ended.
func TestEndByID(t *testing.T) {
	b := newBench(t, nil)
	g := &Gateway{life: b.life}
	b.registry.orphans.Add(newSession(entryOf(1)))
	for id := range uint64(2) {
		if g.End(id) == nil {
			t.Errorf("session %d is ended", id)
		}
	}
}
