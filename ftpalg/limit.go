// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"time"
)

// maxLine is the longest line that is read, in bytes. The rest of a longer one is
// forwarded unread: nothing in the engine grows with what is sent.
const maxLine = 4096

// rate counts the offers of a minute.
type rate struct {
	begun uint32 // start of the counted minute, in Unix seconds
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
