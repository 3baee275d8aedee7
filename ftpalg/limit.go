// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"time"
	"unsafe"
)

// maxLine is the longest line that is read, in bytes. Of a longer one the rest is
// forwarded unread: nothing in the engine grows with what is sent.
const maxLine = 4096

// rate counts the offers of a minute.
type rate struct {
	begun uint32 // when the minute that is counted began, in Unix seconds
	count uint32
}

// allow counts an offer and reports whether it is within the limit.
func (r *rate) allow(now time.Time, limit int) bool {
	if now.IsZero() {
		return true
	}
	if at := uint32(now.Unix()); at-r.begun >= 60 { // also if the clock was set back
		r.begun, r.count = at, 0
	}
	r.count++
	return int(r.count) <= limit
}

// maxLineKept is how much memory is kept for the next line.
const maxLineKept = 512

// Held returns how many bytes of memory the connection holds for what was sent on
// it, beside the line in progress. That is a few kilobytes at most, whatever is
// sent: see docs/protocol.md.
func (c *Conn) Held() int {
	n := cap(c.pending.list) * int(unsafe.Sizeof(entry{}))
	for d := range c.stream {
		s := &c.stream[d]
		n += cap(s.line) - min(cap(s.line), max(len(s.line), maxLineKept))
		for i := range s.edits {
			n += cap(s.edits[i].text)
		}
		n += cap(s.edits) * int(unsafe.Sizeof(edit{}))
		if s.history != nil {
			n += len(s.history.buf)
		}
	}
	return n
}
