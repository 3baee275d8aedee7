// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// forward sends a packet on with the bytes that the engine wants, once the
// kernel adjusts its sequence number.
func (w *worker) forward(s *session, d ftpalg.Direction, p *nfq.Packet) {
	if s.here {
		w.forwardHere(s, d, p)
		return
	}
	r := s.alg.Rewrite(w.payload[:0], d, p.Seq, p.Payload)
	switch {
	case !r.Set || w.adjust(s, d, r.Adjust):
	case w.adjustHere(s):
		w.forwardHere(s, d, p)
		return
	default:
		w.undo(s, d)
		r = s.alg.Rewrite(w.payload[:0], d, p.Seq, p.Payload)
	}
	if !r.Trimmed {
		w.arm(s)
	}
	w.send(s, d, p, &r)
}

// send gives the verdict on a packet that goes on.
func (w *worker) send(s *session, d ftpalg.Direction, p *nfq.Packet, r *ftpalg.Rewritten) {
	switch whole := !r.Changed && !r.Trimmed && r.Seq == p.Seq; {
	case whole && !r.Set: // as nearly all
		w.verdict(w.queue.AcceptLater(p.ID))
		return
	case whole:
		w.verdict(w.queue.Accept(p.ID))
		return
	}
	w.prepare(s, d, p, r)
	w.splice(p, r.Data)
}

// prepare changes in a packet's header what depends on its payload.
func (w *worker) prepare(s *session, d ftpalg.Direction, p *nfq.Packet, r *ftpalg.Rewritten) {
	if r.Trimmed {
		nfq.ClearFIN(p)
	}
	if r.Changed && p.Flags&nfq.FlagURG != 0 {
		nfq.SetUrgent(p, s.alg.Urgent(d, p.Seq, p.Urgent))
	}
	if r.Seq != p.Seq {
		nfq.Renumber(p, r.Seq, func(ack uint32) uint32 { return ack })
	}
}

// splice sends a packet on with another payload.
func (w *worker) splice(p *nfq.Packet, payload []byte) {
	packet, err := nfq.AppendSpliced(w.packet[:0], p, payload)
	if err != nil { // longer than a packet can be; its sender will send less
		w.verdict(w.queue.Drop(p.ID))
		return
	}
	w.packet = packet
	w.verdict(w.queue.AcceptData(p.ID, packet))
}

// adjust sets the kernel's sequence adjustment and reports whether the kernel
// kept it.
func (w *worker) adjust(s *session, d ftpalg.Direction, a ftpalg.Adjustment) bool {
	w.flush()
	if w.ct.SetSeqAdj(s.original(), expect.Direction(d), expect.SeqAdj(a)) != nil {
		return false
	}
	s.adjusted.Store(true)
	return true
}

// undo takes back an edit whose length nobody can adjust, and withdraws the
// offer that asked for it.
func (w *worker) undo(s *session, d ftpalg.Direction) {
	var kernel ftpalg.Adjustment
	if e, err := w.ct.Get(s.original()); err == nil {
		kernel = ftpalg.Adjustment(e.Adj[d])
	}
	s.alg.Undo(d, kernel)
	w.g.withdraw(w.ct, s, report.Reason(ftpalg.ReasonNoAdjust))
}

func opposite(d ftpalg.Direction) ftpalg.Direction { return ftpalg.Original + ftpalg.Reply - d }
