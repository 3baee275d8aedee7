// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// forward sends a packet on with the bytes that the engine wants, once whoever
// adjusts its sequence number does.
func (w *worker) forward(s *session, seg *ftpalg.Segment, p *nfq.Packet) {
	r := s.alg.Rewrite(w.payload[:0], seg)
	if r.Set && !w.adjust(s, seg.Dir, r.Adjust) {
		if !w.adjustHere(s) {
			// Nobody adjusts: the edit is taken back, and the offer that asked for it.
			s.alg.SetAdjustBy(ftpalg.Nobody)
			w.g.withdraw(w.ct, s, report.Reason(ftpalg.ReasonNoAdjust))
		}
		r = s.alg.Rewrite(w.payload[:0], seg)
	}
	if !r.Trimmed {
		w.arm(s)
	}
	w.send(s, seg.Dir, p, &r)
}

// send gives the verdict on a packet that goes on.
func (w *worker) send(s *session, d ftpalg.Direction, p *nfq.Packet, r *ftpalg.Rewritten) {
	switch whole := !r.Changed && !r.Trimmed && r.Seq == p.Seq && !s.here(); {
	case whole && !r.Set: // as nearly all
		w.verdict(w.queue.AcceptLater(p.ID))
		return
	case whole:
		w.verdict(w.queue.Accept(p.ID))
		return
	}
	if r.Trimmed {
		nfq.ClearFIN(p)
	}
	if r.Changed && p.Flags&nfq.FlagURG != 0 {
		nfq.SetUrgent(p, r.Urgent)
	}
	switch {
	case s.here():
		w.noteAdjustments(s) // before anything leaves that depends on them
		back := opposite(d)
		nfq.Renumber(p, r.Seq, func(ack uint32) uint32 { return s.alg.Acknowledgement(back, ack) })
	case r.Seq != p.Seq:
		nfq.Renumber(p, r.Seq, func(ack uint32) uint32 { return ack })
	}
	w.splice(p, r.Data)
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
	if a.Outgrows() && w.ct.SetLiberal(s.original()) != nil {
		return false
	}
	if w.ct.SetSeqAdj(s.original(), expect.Direction(d), expect.SeqAdj(a)) != nil {
		return false
	}
	s.adjusted.Store(true)
	return true
}

func opposite(d ftpalg.Direction) ftpalg.Direction { return ftpalg.Original + ftpalg.Reply - d }
