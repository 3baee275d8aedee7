// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

const eventsPath = "/v1/events"

const (
	// eventPatience is how long a reader of events may take for a batch.
	eventPatience = 10 * time.Second
	// maxEvent limits the line of an event, in bytes.
	maxEvent = 1 << 20
)

// EventFilter selects events. Its zero value selects all.
type EventFilter struct {
	Session uint64
	Client  netip.Addr
	Server  netip.Addr
	Name    string // the event's name, such as "offer refused"
}

func (f *EventFilter) wants(e *report.Event) bool {
	s := &e.Subject
	return (f.Session == 0 || f.Session == s.Session) &&
		(!f.Client.IsValid() || f.Client == s.Client.Addr()) &&
		(!f.Server.IsValid() || f.Server == s.Server.Addr()) &&
		(f.Name == "" || f.Name == e.Name)
}

// query and parseFilter are the two ends of one format.
func (f *EventFilter) query() url.Values {
	v := url.Values{}
	if f.Session != 0 {
		v.Set("session", strconv.FormatUint(f.Session, 10))
	}
	for key, addr := range map[string]netip.Addr{"client": f.Client, "server": f.Server} {
		if addr.IsValid() {
			v.Set(key, addr.String())
		}
	}
	if f.Name != "" {
		v.Set("event", f.Name)
	}
	return v
}

func parseFilter(v url.Values) (f EventFilter, err error) {
	f.Name = v.Get("event")
	if text := v.Get("session"); text != "" {
		f.Session, err = strconv.ParseUint(text, 10, 64)
	}
	for key, addr := range map[string]*netip.Addr{"client": &f.Client, "server": &f.Server} {
		if text := v.Get(key); text != "" && err == nil {
			*addr, err = netip.ParseAddr(text)
		}
	}
	return f, err
}

// lostEvents replaces events for which a reader was too slow.
type lostEvents struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	Level string    `json:"level"`
	Lost  uint64    `json:"lost"` // number of them, selected or not
}

// answerEvents writes the stored events, one JSON object per line, and with
// follow=1 those to come, until the reader goes away.
func answerEvents(w http.ResponseWriter, r *http.Request, s *report.Stream) {
	filter, err := parseFilter(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	follow := r.URL.Query().Get("follow") == "1"
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	for at := s.Oldest(); ; {
		// A failed write means that the reader has gone, or is too slow.
		_ = control.SetWriteDeadline(time.Now().Add(eventPatience))
		list, next, lost := s.Read(at)
		if lost > 0 {
			err = enc.Encode(lostEvents{time.Now(), "events lost", "WARN", lost})
		}
		for i := range list {
			if err == nil && filter.wants(&list[i]) {
				err = enc.Encode(list[i])
			}
		}
		if err != nil || control.Flush() != nil || !follow || !s.Wait(r.Context(), next) {
			return
		}
		at = next
	}
}

// Events calls f with each stored and selected event, a JSON object, and with
// follow with those to come, until ctx ends or f returns an error. The bytes are
// valid until f returns. It returns nil when ctx ends.
func (c *Client) Events(ctx context.Context, filter EventFilter, follow bool, f func(event []byte) error) error {
	query := filter.query()
	if follow {
		query.Set("follow", "1")
	}
	lasting := *c
	lasting.http.Timeout = 0
	resp, err := lasting.do(ctx, http.MethodGet, eventsPath+"?"+query.Encode())
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := c.understood(resp); err != nil {
		return err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		if err := f(bytes.TrimSpace(lines.Bytes())); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the events on %s ended: %w", c.path, err)
	}
	if follow && ctx.Err() == nil {
		return errEventsEnded
	}
	return nil
}

// errEventsEnded means that the daemon has stopped.
var errEventsEnded = errors.New("the daemon has stopped")
