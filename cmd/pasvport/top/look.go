// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// Source answers the questions. *control.Client implements it.
type Source interface {
	Status(context.Context) (control.Status, error)
	Sessions(context.Context) ([]control.Session, error)
	Events(ctx context.Context, f control.EventFilter, follow bool, each func([]byte) error) error
	End(ctx context.Context, id uint64) error
}

// look is the daemon's answers at one time.
type look struct {
	time     time.Time
	status   control.Status
	sessions []control.Session
	refusals []refusal
}

// refusal is an offer that was refused, or a pinhole that the ruleset made
// useless.
type refusal struct {
	Time   time.Time
	Event  string
	Client string
	Reason string
	Hint   string
}

// takeLook asks for everything.
func takeLook(ctx context.Context, src Source) (l look, err error) {
	if l.status, err = src.Status(ctx); err != nil {
		return l, err
	}
	if l.sessions, err = src.Sessions(ctx); err != nil {
		return l, err
	}
	err = src.Events(ctx, control.EventFilter{}, false, func(line []byte) error {
		var e struct {
			refusal
			Level string
		}
		if json.Unmarshal(line, &e) == nil && e.Level == "WARN" && (e.Reason != "" || e.Hint != "") {
			l.refusals = append(l.refusals, e.refusal)
		}
		return nil
	})
	l.time = time.Now()
	return l, err
}

// row is a session with its rates, in bytes per second.
type row struct {
	control.Session
	down, up float64
}

// rows are the sessions of a look that match a filter, with their rates since the
// look before.
func (l *look) rows(before *look, filter string) []row {
	type counts struct{ down, up uint64 }
	earlier := make(map[uint64]counts, len(before.sessions))
	for i := range before.sessions {
		s := &before.sessions[i]
		earlier[s.ID] = counts{s.BytesDown, s.BytesUp}
	}
	seconds := l.time.Sub(before.time).Seconds()
	var list []row
	for _, s := range l.sessions {
		if !wanted(&s, filter) {
			continue
		}
		r := row{Session: s}
		if e, ok := earlier[s.ID]; ok && seconds > 0 && s.BytesDown >= e.down && s.BytesUp >= e.up {
			r.down, r.up = float64(s.BytesDown-e.down)/seconds, float64(s.BytesUp-e.up)/seconds
		}
		list = append(list, r)
	}
	return list
}

// wanted reports whether a session has a text in its addresses, user, command,
// state or note.
func wanted(s *control.Session, filter string) bool {
	if filter == "" {
		return true
	}
	all := strings.Join([]string{s.Client.String(), s.Server.String(), s.Dialled.String(), s.User, s.LastCommand, string(s.Mode), control.StateWord(*s), s.Note}, " ")
	return strings.Contains(strings.ToLower(all), strings.ToLower(filter))
}

// order is what rows are sorted by.
type order uint8

const (
	byRate order = iota
	byBytes
	byIdle
	byAge
	byClient
	orders
)

// String returns the word of the screen.
func (o order) String() string { return [...]string{"rate", "bytes", "idle", "age", "client"}[o] }

// sortRows sorts rows in descending order; equal ones by age.
func sortRows(list []row, o order) {
	most := func(a, b float64) int { return cmp.Compare(b, a) }
	slices.SortStableFunc(list, func(a, b row) int {
		c := 0
		switch o {
		case byRate:
			c = most(a.down+a.up, b.down+b.up)
		case byBytes:
			c = most(float64(a.BytesDown+a.BytesUp), float64(b.BytesDown+b.BytesUp))
		case byIdle:
			c = most(float64(a.Idle), float64(b.Idle))
		case byClient:
			c = a.Client.Compare(b.Client)
		}
		return cmp.Or(c, a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
}
