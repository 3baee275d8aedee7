// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

const (
	// maxAbandons is how often the same half line is dropped in the hope that
	// its sender repeats it in one piece.
	maxAbandons = 2
	// maxGaps is how often a segment that follows unseen bytes comes before
	// its receiver is asked whether it has them; see missing_bytes.go.
	maxGaps = 3
	// gapPause is how long after one time such a segment has to come to count
	// again: networks repeat segments, too, at once. Senders wait for longer
	// (RFC 6298 asks for a second, Linux takes 200 ms).
	gapPause = 150 // milliseconds
)

// stream is one direction of a control connection. Sequence numbers are the
// sender's.
type stream struct {
	known    bool // next is set
	aligned  bool // a line starts at lineStart, or is taken to
	proven   bool // it is known to, not taken to
	skip     bool // the line in progress is too long and not read
	long     bool // the line in progress, or the last one, was too long
	held     bool // segments with the line in progress wait at the caller's
	blind    bool // segments may have passed unseen, see Missed
	denied   bool // a line that was denied began at deniedAt
	ackKnown bool // acked is set
	floorSet bool
	asked64  bool // the caller was asked to adjust, see mustAdjust64

	abandoned uint8 // how often the line at giveUp was dropped half
	gaps      uint8 // how often a segment at gapAt has come
	waits     uint8 // how often the segment at next was dropped because of edits in flight

	returns  int32  // how many CR the last line had before its LF
	next     uint32 // first byte not seen yet
	sent     uint32 // first byte not forwarded yet; differs from next while segments are held
	taken    uint32 // bytes before next that were taken in; the last edit replaces them
	giveUp   uint32
	gapAt    uint32
	gapTime  uint32 // in milliseconds, when it was counted last
	deniedAt uint32
	acked    uint32     // what the receiver has, in its own numbers
	floor    uint32     // no edits are known before this
	adj      Adjustment // as it has to be
	told     Adjustment // as the kernel was told to make it

	line    []byte // what has been seen of the line in progress
	edits   []edit
	history *history // nil until it is needed
}

// lineStart returns the sequence number at which the line in progress began.
func (s *stream) lineStart() uint32 { return s.next - uint32(len(s.line)) }

// farAway is more than the window of a control connection, and less than what
// separates two connections of the same addresses and ports: initial sequence
// numbers move on by 15.6 million in a second (net/core/secure_seq.c).
const farAway = 1 << 20

// far reports whether a sequence number cannot be one of the stream's now.
func (s *stream) far(seq uint32) bool { return s.known && farApart(seq, s.next) }

func farApart(a, b uint32) bool { return a-b+farAway > 2*farAway }

// cut takes the next line off fresh bytes. It returns the line without its
// end (LF with any number of CR before it), the sequence number of its first byte, and how
// many bytes were used. ok is false when the bytes hold no line end, or not
// that of a line that can be read.
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

// shrink gives the memory of a long line back; what is in it stays valid.
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

// unread gives back what of the line in progress was not forwarded: it will
// come again.
func (s *stream) unread() {
	at := s.lineStart()
	keep := max(0, int32(s.sent-at))
	s.next, s.line = at+uint32(keep), s.line[:keep]
}

// tired reports whether the line in progress was dropped half often enough.
func (s *stream) tired() bool {
	return s.giveUp == s.lineStart() && s.abandoned >= maxAbandons
}

// isDenied reports whether the line in progress has been denied already.
func (s *stream) isDenied() bool { return s.denied && s.deniedAt == s.lineStart() }
