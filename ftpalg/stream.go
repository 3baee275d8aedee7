// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

const (
	// maxAbandons is how often the same half line is dropped in the hope that its
	// sender retransmits it in one piece.
	maxAbandons = 2
	// maxGaps is how often a segment after unseen bytes has to arrive before its
	// receiver is asked whether it has them; see missing_bytes.go.
	maxGaps = 3
	// gapPause is how long after the last time such a segment has to arrive to
	// count again: networks duplicate segments, too, at once. Senders wait for
	// longer (RFC 6298 asks for a second, Linux takes 200 ms).
	gapPause = 150 // milliseconds
)

// stream is one direction of a control connection. Sequence numbers are the
// sender's.
type stream struct {
	known    bool // next is set
	aligned  bool // a line starts at lineStart, or is assumed to
	proven   bool // that is known, not assumed
	skip     bool // the line in progress is too long and not read
	long     bool // the line in progress, or the last one, was too long
	held     bool // the caller holds segments with the line in progress
	blind    bool // segments may have passed unseen, see Missed
	denied   bool // a line that was denied began at deniedAt
	ackKnown bool // acked is set
	floorSet bool
	asked64  bool // the caller was asked to adjust, see mustAdjust64

	abandoned uint8 // how often half of the line at giveUp was dropped
	gaps      uint8 // how often a segment at gapAt has arrived
	waits     uint8 // how often the segment at next was dropped because of edits in flight

	returns  int32  // how many CR the last line had before its LF
	next     uint32 // first unseen byte
	sent     uint32 // first byte not forwarded yet; differs from next while segments are held
	taken    uint32 // absorbed bytes before next; the last edit replaces them
	giveUp   uint32
	gapAt    uint32
	gapTime  uint32 // time of the last count, in milliseconds
	deniedAt uint32
	acked    uint32     // what the receiver has acknowledged, in its own numbers
	floor    uint32     // edits before this are unknown
	adj      Adjustment // the adjustment that is needed
	told     Adjustment // the adjustment that the kernel was told

	line    []byte // the seen part of the line in progress
	edits   []edit
	history *history // nil until it is needed
}

// lineStart returns the sequence number at which the line in progress began.
func (s *stream) lineStart() uint32 { return s.next - uint32(len(s.line)) }

// farAway is more than the window of a control connection, and less than what
// separates two connections of the same addresses and ports: initial sequence
// numbers advance by 15.6 million in a second (net/core/secure_seq.c).
const farAway = 1 << 20

// far reports whether a sequence number cannot belong to the stream now.
func (s *stream) far(seq uint32) bool { return s.known && farApart(seq, s.next) }

func farApart(a, b uint32) bool { return a-b+farAway > 2*farAway }

// cut cuts the next line off fresh bytes. It returns the line without its end (LF
// with any number of CR before it), the sequence number of its first byte, and
// how many bytes were used. ok is false if the bytes contain no line end, or that
// of a line that cannot be read.
func (s *stream) cut(p []byte) (line []byte, start uint32, n int, ok bool) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		s.keep(p)
		return nil, 0, len(p), false
	}
	n = i + 1
	start = s.lineStart()
	s.long = s.aligned && (s.skip || len(s.line)+i > maxLine)
	readable := s.aligned && !s.long
	if len(s.line) > 0 {
		if readable {
			s.line = append(s.line, p[:i]...)
		}
		line = s.line
	} else {
		line = p[:i]
	}
	s.next += uint32(n)
	s.aligned, s.proven, s.skip, s.line = true, true, false, s.line[:0]
	s.shrink()
	text := bytes.TrimRight(line, "\r")
	s.returns = int32(len(line) - len(text))
	return text, start, n, readable
}

// shrink frees the memory of a long line; what is in it stays valid.
func (s *stream) shrink() {
	if cap(s.line) > maxLineKept {
		s.line = nil
	}
}

// keep stores the start of a line.
func (s *stream) keep(p []byte) {
	s.next += uint32(len(p))
	switch {
	case !s.aligned || s.skip:
	case len(s.line)+len(p) > maxLine:
		s.skip, s.long, s.line = true, true, s.line[:0]
	default:
		s.line = append(s.line, p...)
	}
}

// abandon forgets the half line that was held and has been dropped.
func (s *stream) abandon() {
	at := s.lineStart()
	if s.giveUp != at {
		s.giveUp, s.abandoned = at, 0
	}
	s.abandoned = min(s.abandoned, 254) + 1
	s.unread()
	s.sent, s.held = s.next, false
}

// unread forgets the part of the line in progress that was not forwarded: it will
// be retransmitted.
func (s *stream) unread() {
	at := s.lineStart()
	keep := max(0, int32(s.sent-at))
	s.next, s.line = at+uint32(keep), s.line[:keep]
}

// tired reports whether half of the line in progress was dropped often enough.
func (s *stream) tired() bool {
	return s.giveUp == s.lineStart() && s.abandoned >= maxAbandons
}

// isDenied reports whether the line in progress has been denied already.
func (s *stream) isDenied() bool { return s.denied && s.deniedAt == s.lineStart() }
