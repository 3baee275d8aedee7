// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"slices"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// talk is the text of one control connection, both ways.
type talk struct {
	isn  uint32 // of the client, where it is known
	seen bool
	half [2]text
}

// talks are those of a capture. Addresses and ports may be used again, by a
// connection whose SYN has another number.
type talks struct {
	byFlow map[flow]*talk
	all    []*talk
	later  []*talk // of a second reading, in the same order
}

// rewind begins a second reading, which finds what the first one made.
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

// text is what was sent in one direction: pieces, then one text with holes.
type text struct {
	known  bool
	base   uint32 // sequence number of a byte of it
	pieces []piece
	from   int32 // of the first byte, from base
	all    []byte
	have   []bool
}

type piece struct {
	at int32 // from base
	p  []byte
}

// add takes the payload of a packet.
func (t *talk) add(d ftpalg.Direction, p *nfq.Packet) {
	x := &t.half[d]
	if !x.known {
		x.known, x.base = true, p.Seq
	}
	if p.Flags&nfq.FlagSYN == 0 && len(p.Payload) > 0 {
		x.pieces = append(x.pieces, piece{int32(p.Seq - x.base), slices.Clone(p.Payload)})
	}
}

// maxText is how far apart the bytes of one direction may lie. What is further is
// not FTP's text.
const maxText = 64 << 20

// copy gives the scrubbed payload of a packet.
func (t *talk) copy(d ftpalg.Direction, p *nfq.Packet, to []byte) {
	x := &t.half[d]
	at := int(int32(p.Seq-x.base) - x.from)
	if p.Flags&nfq.FlagSYN != 0 || at < 0 || at+len(to) > len(x.all) {
		fill(to)
		return
	}
	copy(to, x.all[at:])
}

// scrub puts one direction together and replaces what is to be.
func (t *talk) scrub(w *words, d ftpalg.Direction) {
	x := &t.half[d]
	x.assemble()
	for i := 0; i < len(x.all); {
		if !x.have[i] {
			i++
			continue
		}
		if isTLS(x.all[i]) {
			fill(x.all[i:])
			break
		}
		n := x.run(i)
		whole := i == 0 || x.have[i-1]
		i += w.scrub(d, x.all[i:i+n], whole)
	}
	x.pieces, x.have = nil, nil
}

// run is how many bytes there are from one on, to the end of its line.
func (x *text) run(i int) int {
	n := bytes.IndexByte(x.all[i:], '\n') + 1
	if n == 0 {
		n = len(x.all) - i
	}
	if hole := slices.Index(x.have[i:i+n], false); hole > 0 {
		n = hole
	}
	return n
}

func (x *text) assemble() {
	if len(x.pieces) == 0 {
		return
	}
	x.from = slices.MinFunc(x.pieces, func(a, b piece) int { return int(a.at) - int(b.at) }).at
	var end int32
	for _, p := range x.pieces {
		end = max(end, p.at-x.from+int32(len(p.p)))
	}
	end = min(end, maxText)
	x.all, x.have = make([]byte, end), make([]bool, end)
	for _, p := range x.pieces {
		at := p.at - x.from
		if at < 0 || at >= end {
			continue
		}
		for i, c := range p.p[:min(len(p.p), int(end-at))] {
			if k := int(at) + i; !x.have[k] {
				x.all[k], x.have[k] = c, true
			}
		}
	}
}
