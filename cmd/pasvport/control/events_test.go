// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

// TestEvents: a reader gets the stored and selected events, and with follow those
// to come.
func TestEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stream := &report.Stream{}
	one := report.Subject{Session: 1, Client: netip.MustParseAddrPort("192.0.2.1:4000"), Server: netip.MustParseAddrPort("203.0.113.2:21")}
	two := report.Subject{Session: 2, Client: netip.MustParseAddrPort("[2001:db8::2]:4000"), Server: netip.MustParseAddrPort("[2001:db8::3]:21")}
	send := func(s report.Subject, name string) {
		stream.Send(report.Event{Level: slog.LevelInfo, Subject: s, Name: name})
	}
	send(one, "a")
	send(two, "b")
	send(one, "c")
	stop := start(t, path, answers{events: stream})
	c := NewClient(path)
	for _, tt := range []struct {
		name string
		f    EventFilter
		want string
	}{
		{"all", EventFilter{}, "abc"},
		{"session", EventFilter{Session: 1}, "ac"},
		{"client", EventFilter{Client: two.Client.Addr()}, "b"},
		{"server", EventFilter{Server: one.Server.Addr()}, "ac"},
		{"name", EventFilter{Name: "c"}, "c"},
		{"none", EventFilter{Session: 1, Name: "b"}, ""},
	} {
		got := ""
		if err := c.Events(t.Context(), tt.f, false, func(e []byte) error { got += nameOf(t, e); return nil }); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
	got, enough := "", errors.New("enough")
	err := c.Events(t.Context(), EventFilter{Session: 1}, true, func(e []byte) error {
		got += nameOf(t, e)
		switch got {
		case "ac":
			send(two, "x")
			send(one, "d")
		case "acd":
			return enough
		}
		return nil
	})
	if got != "acd" || !errors.Is(err, enough) {
		t.Errorf("followed: %q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Events(ctx, EventFilter{}, true, func([]byte) error { cancel(); return nil }); err != nil {
		t.Errorf("after the reader's end: %v", err)
	}
	err = c.Events(t.Context(), EventFilter{}, true, func(e []byte) error {
		if nameOf(t, e) == "d" {
			go stop()
		}
		return nil
	})
	if err == nil {
		t.Error("the events do not end with the daemon")
	}
}

func nameOf(t *testing.T, event []byte) string {
	var e struct{ Event string }
	if err := json.Unmarshal(event, &e); err != nil {
		t.Errorf("%s: %v", event, err)
	}
	return e.Event
}

// TestFilterForm: the daemon reads what a client asks for.
func TestFilterForm(t *testing.T) {
	for _, f := range []EventFilter{{}, {Session: 1 << 40}, {Client: netip.MustParseAddr("192.0.2.1"), Name: "offer refused"}, {Server: netip.MustParseAddr("2001:db8::1")}} {
		got, err := parseFilter(f.query())
		if diff := cmp.Diff(f, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
	}
	for _, bad := range []string{"client", "server", "session"} {
		if _, err := parseFilter(map[string][]string{bad: {"x"}}); err == nil {
			t.Errorf("a %s that cannot be", bad)
		}
	}
}
