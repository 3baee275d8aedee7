// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "time"

// maxLine is the longest line that is read, in bytes. Of a longer one the rest is
// forwarded unread: nothing in the engine grows with what is sent.
const maxLine = 4096

// rate counts the offers of a minute.
type rate struct {
	begun uint32 // when the minute that is counted began, in Unix seconds
	count uint32
}

// SetTime tells the engine what time it is. It is called before Segment, as
// often as the caller likes; time that stands still only makes the limit on
// offers stricter.
func (c *Conn) SetTime(now time.Time) { c.now = now }

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
