// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// legacy is what an earlier daemon handed over, by the original tuple.
type legacy map[expect.Tuple]*succession.Record

// newLegacy returns the legacy in some records.
func newLegacy(records []succession.Record) legacy {
	l := make(legacy, len(records))
	for i := range records {
		l[expect.Tuple(records[i].Original)] = &records[i]
	}
	return l
}

// of returns what was handed over of an entry's session, or nil.
func (l legacy) of(e *expect.Entry) *succession.Record {
	if r := l[e.Original]; r != nil && r.Is(e.ID, e.Original, e.Reply) {
		return r
	}
	return nil
}

// isLeft reports whether a session was handed over as one that was left alone.
func isLeft(r *succession.Record) bool { return r != nil && r.Left != succession.LeftNot }
