// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// talk is the text of one control connection, both ways.
type talk struct {
	isn  uint32 // initial sequence number of the client, if known
	seen bool
	half [2]text
}

// talks are those of a capture. A connection whose SYN has another number may use
// the same addresses and ports again.
type talks struct {
	byFlow map[flow]*talk
	all    []*talk
	later  []*talk // of a second reading, in the same order
}

// rewind begins a second reading, which finds what the first one collected.
func (t *talks) rewind() { t.later, t.byFlow = t.all, map[flow]*talk{} }

// of returns the text that a packet is part of.
func (t *talks) of(fl flow, original bool, p *nfq.Packet) *talk {
	begins := original && p.Flags&(nfq.FlagSYN|nfq.FlagACK) == nfq.FlagSYN
	k := t.byFlow[fl]
	if k != nil && !(begins && k.seen && k.isn != p.Seq) {
		return k
	}
	if len(t.later) > 0 {
		k, t.later = t.later[0], t.later[1:]
	} else {
		k = &talk{isn: p.Seq, seen: begins}
		t.all = append(t.all, k)
	}
	t.byFlow[fl] = k
	return k
}

// text is what was sent in one direction, in pieces: first as in the packets,
// then, sorted, with adjacent ones joined.
type text struct {
	known  bool
	base   uint32 // sequence number of a byte of it
	pieces []piece
}

type piece struct {
	at int32 // from base
	p  []byte
}

func (p piece) end() int32 { return p.at + int32(len(p.p)) }

// add adds the payload of a packet.
func (t *talk) add(d ftpalg.Direction, p *nfq.Packet) {
	x := &t.half[d]
	if !x.known {
		x.known, x.base = true, p.Seq
	}
	if p.Flags&nfq.FlagSYN == 0 && len(p.Payload) > 0 {
		x.pieces = append(x.pieces, piece{int32(p.Seq - x.base), slices.Clone(p.Payload)})
	}
}

// copy returns the scrubbed payload of a packet.
func (t *talk) copy(d ftpalg.Direction, p *nfq.Packet, to []byte) {
	x := &t.half[d]
	at := int32(p.Seq - x.base)
	i, exact := slices.BinarySearchFunc(x.pieces, at, func(p piece, at int32) int { return cmp.Compare(p.at, at) })
	if !exact {
		i--
	}
	if p.Flags&nfq.FlagSYN != 0 || i < 0 || x.pieces[i].end() < at+int32(len(to)) {
		fill(to)
		return
	}
	copy(to, x.pieces[i].p[at-x.pieces[i].at:])
}

// scrub assembles one direction and replaces what has to be replaced.
func (t *talk) scrub(w *words, d ftpalg.Direction) {
	x := &t.half[d]
	x.assemble()
	encrypted := false
	for i, piece := range x.pieces {
		whole := i == 0 // otherwise the start of its first line is missing
		for b := piece.p; len(b) > 0; whole = true {
			if encrypted = encrypted || isTLS(b[0]); encrypted {
				fill(b)
				break
			}
			n := bytes.IndexByte(b, '\n') + 1
			if n == 0 {
				n = len(b)
			}
			w.scrub(d, b[:n], whole)
			b = b[n:]
		}
	}
}

// assemble sorts the pieces and joins adjacent ones. Of bytes that came twice the
// first ones are kept.
func (x *text) assemble() {
	slices.SortStableFunc(x.pieces, func(a, b piece) int { return cmp.Compare(a.at, b.at) })
	var joined []piece
	for _, p := range x.pieces {
		if n := len(joined) - 1; n >= 0 && p.at <= joined[n].end() {
			if seen := joined[n].end() - p.at; int(seen) < len(p.p) {
				joined[n].p = append(joined[n].p, p.p[seen:]...)
			}
			continue
		}
		joined = append(joined, p)
	}
	x.pieces = joined
}
