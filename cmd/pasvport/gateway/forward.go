// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// maxPayload is the room for a changed payload: no packet is longer.
const maxPayload = 1 << 16

// forwarder forwards the packets of a queue with the bytes of the engines.
type forwarder struct {
	*verdicts
	ct      conntrack
	adjust  *adjuster
	offers  *offers
	unread  *unread
	teller  *teller
	payload []byte // reused; only its own memory, as Rewrite may return the packet's
	packet  []byte // reused
}

// forward forwards a packet once someone adjusts its sequence number. last says
// that nothing more of its session is held: if it rests now, its next lines may
// pass unread.
func (f *forwarder) forward(r *session.Reader, seg *ftpalg.Segment, p *nfq.Packet, last bool) {
	w := r.Engine.Rewrite(f.payload[:0], seg)
	var err error
	if w.Set {
		if f.teller.isOver(r) { // the kernel would adjust the next entry
			f.drop(p.ID)
			return
		}
		err = f.byKernel(r, seg, w.Adjust)
	}
	switch {
	case errors.Is(err, errAnew):
		f.drop(p.ID)
		return
	case err != nil:
		if !f.adjust.here(f.ct, r) {
			// No one adjusts: the edit is taken back, and so is its offer.
			r.Engine.SetAdjustBy(ftpalg.Nobody)
			f.offers.withdraw(f.ct, r.Session, report.Reason(ftpalg.ReasonNoAdjust))
		}
		f.teller.tell(r, seg.Time) // different from before
		w = r.Engine.Rewrite(f.payload[:0], seg)
	}
	if f.teller.await(); f.teller.isOver(r) {
		f.drop(p.ID)
		return
	}
	if !w.Trimmed && last {
		f.unread.arm(r, seg.Time)
		f.teller.rests(r, seg.Time)
	}
	f.send(r, seg.Dir, p, &w)
}

func (f *forwarder) byKernel(r *session.Reader, seg *ftpalg.Segment, by ftpalg.Adjustment) error {
	f.flush()
	err := f.adjust.kernel(f.ct, r, seg.Dir, by)
	if err == nil {
		f.teller.refreshLater(r, seg.Time)
	}
	return err
}

// send gives the verdict on a packet that is forwarded.
func (f *forwarder) send(r *session.Reader, d ftpalg.Direction, p *nfq.Packet, w *ftpalg.Rewritten) {
	switch whole := !w.Changed && !w.Trimmed && w.Seq == p.Seq && !r.Here(); {
	case whole && !w.Set: // as nearly all
		f.acceptLater(p.ID)
		return
	case whole:
		f.accept(p.ID)
		return
	}
	if w.Trimmed {
		nfq.ClearFIN(p)
	}
	if w.Changed && p.Flags&nfq.FlagURG != 0 {
		nfq.SetUrgent(p, w.Urgent)
	}
	switch {
	case r.Here():
		f.adjust.note(r) // before anything that depends on them is forwarded
		back := ftpalg.Original + ftpalg.Reply - d
		nfq.Renumber(p, w.Seq, func(ack uint32) uint32 { return r.Engine.Acknowledgement(back, ack) })
	case w.Seq != p.Seq:
		nfq.Renumber(p, w.Seq, func(ack uint32) uint32 { return ack })
	}
	f.splice(p, w.Data)
}

// ask sends an empty segment in place of one that cannot be read until it is
// known what its receiver has.
func (f *forwarder) ask(r *session.Reader, p *nfq.Packet, at uint32) {
	f.send(r, r.Direction(p), p, &ftpalg.Rewritten{Changed: true, Trimmed: true, Seq: at, Urgent: p.Urgent})
}

// splice forwards a packet with another payload.
func (f *forwarder) splice(p *nfq.Packet, payload []byte) {
	packet, err := nfq.AppendSpliced(f.packet[:0], p, payload)
	if err != nil { // longer than a packet can be; its sender will send less
		f.drop(p.ID)
		return
	}
	f.packet = packet
	if len(payload) > 0 { // otherwise a later packet of the sender may be the same
		f.changed.note(packet)
	}
	f.acceptData(p.ID, packet)
}

// segmentOf is a packet as the engine sees it.
func segmentOf(d ftpalg.Direction, p *nfq.Packet, now time.Time) ftpalg.Segment {
	seg := ftpalg.Segment{Time: now, Dir: d, Seq: p.Seq, Ack: p.Ack, Payload: p.Payload}
	seg.Acks = p.Flags&(nfq.FlagSYN|nfq.FlagRST|nfq.FlagACK) == nfq.FlagACK
	if p.Flags&nfq.FlagURG != 0 {
		seg.Urgent = p.Urgent
	}
	return seg
}
