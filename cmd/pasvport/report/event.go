// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Subject is the control connection that something happened to; the zero value
// means none.
type Subject struct {
	Session uint64 // its id in `pasvport sessions`
	Client  netip.AddrPort
	Server  netip.AddrPort

	// Monitored says that nothing is changed or opened for it.
	Monitored bool
}

// Names of the fields of a Subject, in the log and in events.
const (
	keySession = "session"
	keyClient  = "client"
	keyServer  = "server"
	keyMonitor = "monitor"
)

// subjectAttrs is how many attributes a subject has at most.
const subjectAttrs = 4

// appendTo appends the subject's attributes to a list.
func (s *Subject) appendTo(list []slog.Attr) []slog.Attr {
	if *s == (Subject{}) {
		return list
	}
	list = append(list, slog.Any(keyClient, s.Client), slog.Any(keyServer, s.Server), slog.Uint64(keySession, s.Session))
	if s.Monitored {
		list = append(list, slog.Bool(keyMonitor, true))
	}
	return list
}

// Event is something that happened. It does not change once it is reported.
type Event struct {
	Time    time.Time
	Level   slog.Level
	Name    string // the message of the log line
	Subject Subject
	Attrs   []slog.Attr
}

// MarshalJSON returns one flat object: time, event, level, the subject's fields
// and those of the event, in this order. Values that have a text are that text.
func (e Event) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	add := func(key string, v any) error {
		text, err := json.Marshal(inWords(v))
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", key, text)
		return nil
	}
	err := add("time", e.Time)
	if err == nil {
		err = add("event", e.Name)
	}
	if err == nil {
		err = add("level", e.Level.String())
	}
	for _, list := range [][]slog.Attr{e.Subject.appendTo(nil), e.Attrs} {
		for _, a := range list {
			if err == nil {
				err = add(a.Key, a.Value.Resolve().Any())
			}
		}
	}
	b.WriteByte('}')
	return b.Bytes(), err
}

// inWords returns what is to be encoded of a value: the text of one that has a
// text, as the log shows it.
func inWords(v any) any {
	switch v := v.(type) {
	case error:
		return v.Error()
	case time.Time, json.Marshaler, encoding.TextMarshaler:
		return v
	case fmt.Stringer: // time.Duration too
		return v.String()
	}
	return v
}
