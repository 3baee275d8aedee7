// SPDX-License-Identifier: Apache-2.0

package succession

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// An encoded record is a list of fields, each a tag of one byte, the length of
// its value (a varint) and the value, which may be a list of fields again. A
// field with the zero value is omitted, and one with an unknown tag is skipped. A
// tag never gets another meaning.

// Tags of a record.
const (
	tagOriginal = 1 + iota
	tagReply
	tagID
	tagLeft
	tagEngine
	tagAdjustedOriginal
	tagAdjustedReply
	tagNextOriginal
	tagNextReply
	tagPinhole
	tagTold
)

// Tags of what is in a record.
const (
	tagSrc = 1 + iota
	tagDst
	tagZone
)

const (
	tagGen = 1 + iota
	tagSeq
)

const (
	tagFlags = 1 + iota
	tagMulti
	tagWaiting
	tagStreamOriginal
	tagStreamReply
	tagMarks
)

const (
	tagPlace = 1 + iota // flags
	tagNext
	tagLine
	tagTaken
	tagAcked
	tagFloor
	tagEdit
	tagAhead
	tagMissing
	tagAdjusted
)

const (
	tagEditStart = 1 + iota
	tagEditLength
	tagEditText
	tagEditTaken
	tagEditBefore
)

const (
	tagPos = 1 + iota
	tagBefore
	tagAfter
)

const (
	tagMode = 1 + iota // flags
	tagSource
	tagPublic
	tagTarget
	tagPort
	tagTimeLeft
	tagData
	tagWay
)

// Maximum sizes in a record: no daemon makes larger ones.
const (
	maxRecordPinholes = 16
	maxWaiting        = 256
	maxRecordEdits    = 64
)

// AppendRecord encodes a record.
func AppendRecord(b []byte, r *Record) []byte {
	b = appendTuple(b, tagOriginal, &r.Original)
	b = appendTuple(b, tagReply, &r.Reply)
	b = appendUint(b, tagID, uint64(r.ID))
	if r.Left != LeftNot {
		b = appendField(b, tagLeft, func(b []byte) []byte { return append(b, r.Left.String()...) })
	}
	if r.Engine != nil {
		b = appendField(b, tagEngine, func(b []byte) []byte { return appendEngine(b, r.Engine) })
	}
	for d, tag := range [2]byte{tagAdjustedOriginal, tagAdjustedReply} {
		if r.Adjusted != nil {
			b = appendField(b, tag, func(b []byte) []byte { return appendAdjustment(b, &r.Adjusted[d]) })
		}
	}
	for d, tag := range [2]byte{tagNextOriginal, tagNextReply} {
		if n := r.Next[d]; n != nil {
			b = appendField(b, tag, func(b []byte) []byte { return binary.AppendUvarint(b, uint64(*n)) })
		}
	}
	for i := range r.Pinholes {
		b = appendField(b, tagPinhole, func(b []byte) []byte { return appendPinhole(b, &r.Pinholes[i]) })
	}
	if r.Told != nil {
		b = appendField(b, tagTold, func(b []byte) []byte { return appendUint(appendUint(b, tagGen, r.Told.Gen), tagSeq, r.Told.Seq) })
	}
	return b
}

// appendField appends a field, whose value f appends.
func appendField(b []byte, tag byte, f func([]byte) []byte) []byte {
	b = append(b, tag, 0)
	at := len(b)
	b = f(b)
	n := uint64(len(b) - at)
	if n <= math.MaxInt8 { // it fits into the byte that is there for it
		b[at-1] = byte(n)
		return b
	}
	return slices.Replace(b, at-1, at, binary.AppendUvarint(nil, n)...)
}

func appendUint(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return appendField(b, tag, func(b []byte) []byte { return binary.AppendUvarint(b, v) })
}

func appendBytes(b []byte, tag byte, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return appendField(b, tag, func(b []byte) []byte { return append(b, v...) })
}

func appendInt(b []byte, tag byte, v int64) []byte {
	if v == 0 {
		return b
	}
	return appendField(b, tag, func(b []byte) []byte { return binary.AppendVarint(b, v) })
}

// appendFlags encodes which of the flags are set.
func appendFlags(b []byte, tag byte, flags ...*bool) []byte {
	bits := uint64(0)
	for i, f := range flags {
		if *f {
			bits |= 1 << i
		}
	}
	return appendUint(b, tag, bits)
}

func appendAddrPort(b []byte, tag byte, a netip.AddrPort) []byte {
	return appendField(b, tag, func(b []byte) []byte {
		b, _ = a.AppendBinary(b) // it never fails
		return b
	})
}

func appendTuple(b []byte, tag byte, t *Tuple) []byte {
	return appendField(b, tag, func(b []byte) []byte {
		b = appendAddrPort(b, tagSrc, t.Src)
		b = appendAddrPort(b, tagDst, t.Dst)
		return appendUint(b, tagZone, uint64(t.Zone))
	})
}

// flagsOf are the flags of a state, in the order of their bits.
func flagsOf(t *ftpalg.State) []*bool {
	return []*bool{&t.Foreign, &t.Encrypted, &t.Started, &t.Begun, &t.Answered, &t.Greeted, &t.Spoken, &t.Login, &t.EPSVAll,
		&t.NAT64Off, &t.Offered, &t.Unchosen}
}

func flagsOfPlace(p *ftpalg.Place) []*bool { return []*bool{&p.Known, &p.Start, &p.Denied} }

func appendEngine(b []byte, t *ftpalg.State) []byte {
	b = appendFlags(b, tagFlags, flagsOf(t)...)
	b = appendUint(b, tagMulti, uint64(t.Multi))
	for _, v := range t.Waiting {
		b = appendField(b, tagWaiting, func(b []byte) []byte { return append(b, v...) })
	}
	b = appendBytes(b, tagMarks, t.Marks)
	for d, tag := range [2]byte{tagStreamOriginal, tagStreamReply} {
		p := &t.Stream[d]
		b = appendField(b, tag, func(b []byte) []byte {
			b = appendFlags(b, tagPlace, flagsOfPlace(p)...)
			b = appendUint(b, tagNext, uint64(p.Next))
			b = appendBytes(b, tagLine, p.Line)
			b = appendUint(b, tagTaken, uint64(p.Taken))
			for i, at := range []*uint32{p.Acked, p.Floor} {
				if at != nil {
					b = appendField(b, tagAcked+byte(i), func(b []byte) []byte { return binary.AppendUvarint(b, uint64(*at)) })
				}
			}
			for i := range p.Edits {
				b = appendField(b, tagEdit, func(b []byte) []byte { return appendEdit(b, &p.Edits[i]) })
			}
			if p.Adjusted != nil {
				b = appendField(b, tagAdjusted, func(b []byte) []byte { return appendAdjustment(b, p.Adjusted) })
			}
			b = appendBytes(b, tagAhead, p.Ahead)
			b = appendUint(b, tagMissing, uint64(p.Missing))
			return b
		})
	}
	return b
}

func appendEdit(b []byte, e *ftpalg.Edit) []byte {
	b = appendUint(b, tagEditStart, uint64(e.Start))
	b = appendUint(b, tagEditLength, uint64(e.Length))
	b = appendBytes(b, tagEditText, e.Text)
	b = appendUint(b, tagEditTaken, uint64(e.Taken))
	return appendInt(b, tagEditBefore, int64(e.Before))
}

func appendAdjustment(b []byte, a *ftpalg.Adjustment) []byte {
	b = appendUint(b, tagPos, uint64(a.Pos))
	b = appendInt(b, tagBefore, int64(a.Before))
	return appendInt(b, tagAfter, int64(a.After))
}

func appendPinhole(b []byte, p *Pinhole) []byte {
	b = appendFlags(b, tagMode, &p.Active, &p.NAT)
	b = appendField(b, tagSource, func(b []byte) []byte {
		b, _ = p.Source.AppendBinary(b)
		return b
	})
	b = appendAddrPort(b, tagPublic, p.Public)
	b = appendAddrPort(b, tagTarget, p.Target)
	b = appendUint(b, tagPort, uint64(p.Port))
	b = appendInt(b, tagTimeLeft, int64(p.Left))
	if p.Data != nil {
		b = appendTuple(b, tagData, p.Data)
	}
	if p.Way != rules.WayAny {
		b = appendUint(b, tagWay, uint64(p.Way))
	}
	return b
}

// errRecord means that bytes are not a record.
var errRecord = errors.New("not a record")

// fields are the remaining fields of a list. bad is set by a value that cannot be
// decoded; the list is over then.
type fields struct {
	b   []byte
	bad bool
}

// next returns the next field; ok is false at the end.
func (f *fields) next() (tag byte, v []byte, ok bool) {
	if len(f.b) == 0 || f.bad {
		return 0, nil, false
	}
	n, size := binary.Uvarint(f.b[1:])
	if size <= 0 || n > uint64(len(f.b)-1-size) {
		f.bad = true
		return 0, nil, false
	}
	tag, v = f.b[0], f.b[1+size:][:n]
	f.b = f.b[1+size+int(n):]
	return tag, v, true
}

// is records whether a value was valid.
func (f *fields) is(ok bool) { f.bad = f.bad || !ok }

func (f *fields) uint(v []byte, most uint64) uint64 {
	n, size := binary.Uvarint(v)
	f.is(size == len(v) && size > 0 && n <= most)
	return n
}

func (f *fields) int(v []byte) int64 {
	n, size := binary.Varint(v)
	f.is(size == len(v) && size > 0)
	return n
}

func (f *fields) int32(v []byte) int32 {
	n := f.int(v)
	f.is(n == int64(int32(n)))
	return int32(n)
}

// flags sets flags; further bits are those of a newer daemon.
func (f *fields) flags(v []byte, flags ...*bool) {
	bits := f.uint(v, math.MaxUint64)
	for i, at := range flags {
		*at = bits&(1<<i) != 0
	}
}

func (f *fields) addrPort(v []byte) (a netip.AddrPort) {
	f.is(a.UnmarshalBinary(v) == nil && a.Addr().Zone() == "")
	return a
}

// each calls g for each field of a list in a value.
func (f *fields) each(v []byte, g func(l *fields, tag byte, v []byte)) {
	l := fields{b: v}
	for {
		tag, v, ok := l.next()
		if !ok {
			break
		}
		g(&l, tag, v)
	}
	f.is(!l.bad)
}

// ParseRecord decodes a record. It keeps no reference to b.
func ParseRecord(b []byte) (r Record, err error) {
	var f fields
	f.each(b, func(f *fields, tag byte, v []byte) {
		switch tag {
		case tagOriginal:
			r.Original = f.tuple(v)
		case tagReply:
			r.Reply = f.tuple(v)
		case tagID:
			r.ID = uint32(f.uint(v, math.MaxUint32))
		case tagLeft:
			r.Left = ParseLeft(string(v))
		case tagEngine:
			r.Engine = f.engine(v)
		case tagAdjustedOriginal, tagAdjustedReply:
			if r.Adjusted == nil {
				r.Adjusted = new([2]ftpalg.Adjustment)
			}
			r.Adjusted[tag-tagAdjustedOriginal] = f.adjustment(v)
		case tagNextOriginal, tagNextReply:
			n := uint32(f.uint(v, math.MaxUint32))
			r.Next[tag-tagNextOriginal] = &n
		case tagPinhole:
			f.is(len(r.Pinholes) < maxRecordPinholes)
			if !f.bad {
				r.Pinholes = append(r.Pinholes, f.pinhole(v))
			}
		case tagTold:
			r.Told = f.stamp(v)
		}
	})
	if f.bad || !r.Original.valid() || !r.Reply.valid() {
		return Record{}, errRecord
	}
	return r, nil
}

// ParseTuples reads the tuples of a record in bytes, and leaves the rest of it unread.
func ParseTuples(b []byte) (original, reply expect.Tuple, err error) {
	f := fields{b: b}
	for {
		tag, v, ok := f.next()
		if !ok {
			break
		}
		switch tag {
		case tagOriginal:
			original = expect.Tuple(f.tuple(v))
		case tagReply:
			reply = expect.Tuple(f.tuple(v))
		}
	}
	if from, to := Tuple(original), Tuple(reply); f.bad || !from.valid() || !to.valid() {
		return expect.Tuple{}, expect.Tuple{}, errRecord
	}
	return original, reply, nil
}

// valid reports whether both ends are set and of one family.
func (t *Tuple) valid() bool {
	return t.Src.IsValid() && t.Dst.IsValid() && t.Src.Addr().BitLen() == t.Dst.Addr().BitLen()
}

func (f *fields) tuple(v []byte) (t Tuple) {
	l := fields{b: v}
	for {
		tag, v, ok := l.next()
		if !ok {
			break
		}
		switch tag {
		case tagSrc:
			t.Src = l.addrPort(v)
		case tagDst:
			t.Dst = l.addrPort(v)
		case tagZone:
			t.Zone = uint16(l.uint(v, math.MaxUint16))
		}
	}
	f.is(!l.bad)
	return t
}

func (f *fields) stamp(v []byte) *Stamp {
	s := new(Stamp)
	f.each(v, func(f *fields, tag byte, v []byte) {
		switch tag {
		case tagGen:
			s.Gen = f.uint(v, math.MaxUint64)
		case tagSeq:
			s.Seq = f.uint(v, math.MaxUint64)
		}
	})
	return s
}

func (f *fields) engine(v []byte) *ftpalg.State {
	t := new(ftpalg.State)
	f.each(v, func(f *fields, tag byte, v []byte) {
		switch tag {
		case tagFlags:
			f.flags(v, flagsOf(t)...)
		case tagMulti:
			t.Multi = uint16(f.uint(v, math.MaxUint16))
		case tagWaiting:
			if f.is(len(t.Waiting) < maxWaiting); !f.bad {
				t.Waiting = append(t.Waiting, string(v))
			}
		case tagMarks:
			t.Marks = bytes.Clone(v)
		case tagStreamOriginal, tagStreamReply:
			t.Stream[tag-tagStreamOriginal] = f.place(v)
		}
	})
	return t
}

func (f *fields) place(v []byte) (p ftpalg.Place) {
	f.each(v, func(f *fields, tag byte, v []byte) {
		switch tag {
		case tagPlace:
			f.flags(v, flagsOfPlace(&p)...)
		case tagNext:
			p.Next = uint32(f.uint(v, math.MaxUint32))
		case tagLine:
			p.Line = bytes.Clone(v)
		case tagTaken:
			p.Taken = uint32(f.uint(v, math.MaxUint32))
		case tagAcked, tagFloor:
			at := uint32(f.uint(v, math.MaxUint32))
			*[]**uint32{&p.Acked, &p.Floor}[tag-tagAcked] = &at
		case tagEdit:
			if f.is(len(p.Edits) < maxRecordEdits); !f.bad {
				p.Edits = append(p.Edits, f.edit(v))
			}
		case tagAdjusted:
			p.Adjusted = new(f.adjustment(v))
		case tagAhead:
			p.Ahead = bytes.Clone(v)
		case tagMissing:
			p.Missing = uint32(f.uint(v, math.MaxUint32))
		}
	})
	return p
}

func (f *fields) edit(v []byte) (e ftpalg.Edit) {
	f.each(v, func(f *fields, tag byte, v []byte) {
		switch tag {
		case tagEditStart:
			e.Start = uint32(f.uint(v, math.MaxUint32))
		case tagEditLength:
			e.Length = uint32(f.uint(v, math.MaxUint32))
		case tagEditText:
			e.Text = bytes.Clone(v)
		case tagEditTaken:
			e.Taken = uint32(f.uint(v, math.MaxUint32))
		case tagEditBefore:
			e.Before = f.int32(v)
		}
	})
	return e
}

func (f *fields) adjustment(v []byte) (a ftpalg.Adjustment) {
	f.each(v, func(f *fields, tag byte, v []byte) {
		switch tag {
		case tagPos:
			a.Pos = uint32(f.uint(v, math.MaxUint32))
		case tagBefore:
			a.Before = f.int32(v)
		case tagAfter:
			a.After = f.int32(v)
		}
	})
	return a
}

func (f *fields) pinhole(v []byte) (p Pinhole) {
	f.each(v, func(f *fields, tag byte, v []byte) {
		switch tag {
		case tagMode:
			f.flags(v, &p.Active, &p.NAT)
		case tagSource:
			f.is(p.Source.UnmarshalBinary(v) == nil && p.Source.Zone() == "")
		case tagPublic:
			p.Public = f.addrPort(v)
		case tagTarget:
			p.Target = f.addrPort(v)
		case tagPort:
			p.Port = uint16(f.uint(v, math.MaxUint16))
		case tagTimeLeft:
			p.Left = time.Duration(f.int(v))
		case tagData:
			t := f.tuple(v)
			p.Data = &t
		case tagWay:
			p.Way = rules.Way(f.uint(v, math.MaxUint8))
		}
	})
	return p
}
