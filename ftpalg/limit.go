// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "time"

// Limits bound what one control connection may ask for. A zero field stands
// for its default. Nothing in the engine grows with what is sent: beyond a
// limit lines are forwarded and open nothing.
type Limits struct {
	// Line is the longest line that is read, in bytes; MaxLine by default.
	// Of a longer one the rest is forwarded unread.
	Line int
	// Lines is how many lines of one segment may hold an offer; 1024 by
	// default.
	Lines int
	// Offers is how many offers may be made in a minute; 60000 by default,
	// which is more than a mirror of many small files can need on a fast
	// network. It holds only if SetTime is called.
	Offers int
}

const (
	defaultLines  = 1024
	defaultOffers = 60000
)

func (l *Limits) line() int   { return orDefault(l.Line, MaxLine) }
func (l *Limits) lines() int  { return orDefault(l.Lines, defaultLines) }
func (l *Limits) offers() int { return orDefault(l.Offers, defaultOffers) }

func orDefault(v, otherwise int) int {
	if v <= 0 {
		return otherwise
	}
	return v
}

// rate counts the offers of a minute.
type rate struct {
	begun int64 // when the minute that is counted began, in Unix nanoseconds
	count int
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
	if d := time.Duration(now.UnixNano() - r.begun); d >= time.Minute || d < 0 {
		r.begun, r.count = now.UnixNano(), 0
	}
	r.count++
	return r.count <= limit
}
