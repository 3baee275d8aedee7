// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

var subject = Subject{Session: 7, Client: netip.MustParseAddrPort("192.0.2.1:4000"), Server: netip.MustParseAddrPort("[2001:db8::1]:21")}

// word is a value with a text.
type word uint8

func (word) String() string { return "a-word" }

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := Reporter{Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	r.Report(slog.LevelWarn, subject, "offer refused", "reason", word(3), "timeout", time.Minute, "err", errors.New(`no "way"`), "n", 5)
	r.Report(slog.LevelInfo, Subject{}, "ready", slog.String("table", "x\ny"))
	r.Report(slog.LevelDebug, subject, "not for the stream")
	_, log, _ := strings.Cut(out.String(), " ")
	if want := `level=WARN msg="offer refused" client=192.0.2.1:4000 server=[2001:db8::1]:21 session=7 reason=a-word timeout=1m0s err="no \"way\"" n=5`; !strings.HasPrefix(log, want+"\n") {
		t.Errorf("log:\n%s\nwant\n%s", log, want)
	}
	list, next, lost := r.Stream.Read(0)
	if len(list) != 2 || next != 2 || lost != 0 {
		t.Fatalf("%d events, next %d, lost %d", len(list), next, lost)
	}
	for i, want := range []string{
		`,"event":"offer refused","level":"WARN","client":"192.0.2.1:4000","server":"[2001:db8::1]:21","session":7,"reason":"a-word","timeout":"1m0s","err":"no \"way\"","n":5}`,
		`,"event":"ready","level":"INFO","table":"x\ny"}`,
	} {
		text, err := json.Marshal(list[i])
		if err != nil || !strings.HasSuffix(string(text), want) || !json.Valid(text) {
			t.Errorf("%s, %v\nwant the end %s", text, err, want)
		}
	}
}

// A reader that is too slow learns what it missed, and continues with what is
// kept.
func TestLost(t *testing.T) {
	var s Stream
	for i := range kept + 10 {
		s.Send(Event{Level: slog.Level(i)})
	}
	list, next, lost := s.Read(3)
	if len(list) != kept || lost != 7 || next != kept+10 || list[0].Level != 10 || list[kept-1].Level != kept+9 || s.Oldest() != 10 {
		t.Errorf("%d events, lost %d, next %d, oldest %d", len(list), lost, next, s.Oldest())
	}
	if list, _, lost := s.Read(next); len(list) != 0 || lost != 0 {
		t.Errorf("at the end: %d events, lost %d", len(list), lost)
	}
}

func TestWait(t *testing.T) {
	var s Stream
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	const readers, events = 4, 1000
	for range readers {
		wg.Go(func() {
			n := uint64(0)
			for at := uint64(0); at < events && s.Wait(ctx, at); {
				list, next, lost := s.Read(at)
				n += uint64(len(list)) + lost
				at = next
			}
			if n != events {
				t.Errorf("a reader saw %d of %d events", n, events)
			}
		})
	}
	for range events {
		s.Send(Event{})
	}
	wg.Wait()
	cancel()
	if s.Wait(ctx, events) {
		t.Error("an event after the last one")
	}
}
