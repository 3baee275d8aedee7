// SPDX-License-Identifier: Apache-2.0

package top

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// daemon is a Source.
type daemon struct {
	sessions []control.Session
	events   []string
	ended    uint64
	err      error
}

func (d *daemon) Status(context.Context) (control.Status, error) {
	return control.Status{Version: "v1", Started: time.Now().Add(-time.Hour), Table: "pasvport", Ports: []string{"21"}, Allow: "related", Strategy: "expectation", PinholesOpen: 3}, d.err
}

func (d *daemon) Sessions(context.Context) ([]control.Session, error) { return d.sessions, d.err }

func (d *daemon) Events(_ context.Context, _ control.EventFilter, _ bool, each func([]byte) error) error {
	for _, e := range d.events {
		if err := each([]byte(e)); err != nil {
			return err
		}
	}
	return nil
}

func (d *daemon) End(_ context.Context, id uint64) error { d.ended = id; return nil }

// many are sessions, three of every ten of which transfer.
func many(n int) []control.Session {
	list := make([]control.Session, n)
	for i := range list {
		list[i] = control.Session{
			ID: uint64(i + 1), Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 40000),
			Server: netip.MustParseAddrPort("203.0.113.2:21"), State: "established", Login: "accepted", User: "alice", LastCommand: "RETR",
			Mode: control.ModePassive, Started: time.Now().Add(-time.Duration(n-i) * time.Second), RecentCommands: []string{"PASV", "RETR"},
			Data: control.Data{Accounting: true}, Transferring: i%10 == 3,
		}
	}
	return list
}

// TestFrame: the screen fits at any width, and the fastest session comes first.
func TestFrame(t *testing.T) {
	at := time.Now()
	s := screen{before: look{time: at.Add(-2 * time.Second), sessions: many(5000)}, look: look{time: at, sessions: many(5000)}}
	s.look.sessions[1234].BytesDown = 4e6
	s.look.sessions[77].User = "eve\x1b[2J\tül"
	s.look.refusals = []refusal{{at.Add(-10 * time.Second), "offer refused", "192.0.2.1:4", "third-party", "look here"}, {at.Add(-time.Hour), "offer refused", "", "old", ""}}
	for _, size := range [][2]int{{80, 24}, {200, 50}, {40, 5}, {10, 2}, {0, 0}} {
		s.width, s.height = size[0], size[1]
		lines := strings.Split(s.frame(), "\n")
		if s.height > 0 && len(lines) != s.height {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if s.width > 0 && utf8.RuneCountInString(line) > s.width {
				t.Errorf("%v: a line of %d: %q", size, utf8.RuneCountInString(line), line)
			}
			if strings.ContainsAny(line, "\x1b\t") {
				t.Errorf("%v: control characters in %q", size, line)
			}
		}
		if s.width >= 80 && !strings.Contains(lines[4], "10.0.4.210:40000") {
			t.Errorf("%v: the first session is %q", size, lines[4])
		}
	}
	all := s.frame()
	for _, want := range []string{"5000 sessions, 500 transfer, 0 encrypted; down 2 MB/s", "! 1 offer refused: third-party; look here"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(strings.Split(all, "\n")[:4], "\n"))
		}
	}
}

// press sends keys to a model, one after another, and runs the commands that they
// return.
func press(t *testing.T, m *model, keys ...tea.KeyPressMsg) {
	t.Helper()
	for _, k := range keys {
		if _, cmd := m.Update(k); cmd != nil {
			m.Update(cmd())
		}
	}
}

func letters(text string) (keys []tea.KeyPressMsg) {
	for _, r := range text {
		keys = append(keys, tea.KeyPressMsg{Code: r, Text: string(r)})
	}
	return keys
}

// TestKeys: sort, filter, select, details and the end of a session.
func TestKeys(t *testing.T) {
	d := &daemon{sessions: many(30), events: []string{`{"level":"WARN","event":"offer refused","reason":"x"}`, `not JSON`}}
	m := &model{ctx: t.Context(), src: d, interval: time.Hour}
	m.Update(tea.WindowSizeMsg{Width: 120, Height: 20})
	m.Update(m.ask())
	shows := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if f := m.View().Content; !strings.Contains(f, w) {
				t.Errorf("no %q in\n%s", w, f)
			}
		}
	}
	shows("30 sessions", "sort: rate")
	press(t, m, letters("s")...)
	shows("sort: bytes")
	press(t, m, letters("/0.0.7")...)
	press(t, m, tea.KeyPressMsg{Code: tea.KeyEnter})
	shows("1 sessions", "10.0.0.7:40000", "[0.0.7]")
	press(t, m, tea.KeyPressMsg{Code: tea.KeyDown}, tea.KeyPressMsg{Code: tea.KeyEnter})
	shows("commands  PASV RETR", "login accepted")
	press(t, m, letters("e")...)
	shows("reset both ends of session 8? y/n")
	press(t, m, letters("n")...)
	if d.ended != 0 {
		t.Error("ended although it was not confirmed")
	}
	press(t, m, letters("ey")...)
	if shows("session 8 was reset"); d.ended != 8 {
		t.Errorf("session %d was ended", d.ended)
	}
	press(t, m, tea.KeyPressMsg{Code: tea.KeyEscape})
	press(t, m, letters("p")...)
	d.sessions = nil
	m.Update(m.ask())
	shows("30 sessions", "PAUSED")
	press(t, m, letters("p")...)
	m.Update(m.ask())
	shows("0 sessions")
	d.err = errors.New("no daemon answers")
	m.Update(m.ask())
	shows("no daemon answers")
	if _, cmd := m.Update(letters("q")[0]); cmd == nil {
		t.Error("q does not leave")
	}
}

func TestOnce(t *testing.T) {
	var b bytes.Buffer
	if err := Once(t.Context(), &b, &daemon{sessions: many(3)}, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Count(got, "203.0.113.2:21") != 3 || !strings.HasPrefix(got, "pasvport v1, up 1h00m") {
		t.Errorf("%s", got)
	}
	if err := Once(t.Context(), &b, &daemon{err: fmt.Errorf("away")}, time.Millisecond); err == nil {
		t.Error("a missing daemon is no error")
	}
}

// hostile are texts that a client may send as its name.
var hostile = []string{
	"\x1b[2J\x1b]0;owned\a", "a\nb\rc\td", "\u202eevil", "\u0085\u009b2J", "bad\xff\xfeutf8", strings.Repeat("x", 5000),
	"  padded  ", "%s%d%!", "\u200b\ufeff", "",
}

// TestHostile: no text of a session, an event or the daemon reaches the terminal as
// anything but text, breaks a line or moves a column, on any screen.
func TestHostile(t *testing.T) {
	at := time.Now()
	for _, bad := range hostile {
		list := many(3)
		x := &list[1]
		x.User, x.LastCommand, x.Note, x.RecentCommands = bad, bad, bad, []string{bad, bad}
		x.Offer = &control.Offer{Verb: bad, Reason: bad}
		s := screen{look: look{time: at, sessions: list, refusals: []refusal{{at, bad, bad, bad, bad}}}, selected: x.ID}
		s.look.status = control.Status{Notes: []string{bad}}
		for _, details := range []bool{false, true} {
			for _, size := range [][2]int{{0, 0}, {100, 20}, {24, 8}} {
				s.details, s.width, s.height = details, size[0], size[1]
				frame := s.frame()
				if strings.ContainsFunc(frame, func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) || !utf8.ValidString(frame) {
					t.Errorf("%q, details %t, %v: not only text:\n%q", bad, details, size, frame)
				}
				lines := strings.Split(frame, "\n")
				if !details && size[0] == 0 && (len(lines) != 7 || strings.Index(lines[5], "passive") != strings.Index(lines[4], "passive")) {
					t.Errorf("%q: the columns moved:\n%s", bad, frame)
				}
			}
		}
	}
}

// TestWrong: the line names each reason with its number, and a hint if one of the last
// minute has one, whatever came after it.
func TestWrong(t *testing.T) {
	at := time.Now()
	ago := func(d time.Duration) time.Time { return at.Add(-d) }
	for _, tt := range []struct {
		name     string
		refusals []refusal
		notes    []string
		want     string
	}{
		{"nothing", nil, nil, "nothing is wrong"},
		{"long ago", []refusal{{ago(2 * time.Minute), "offer refused", "", "third-party", "look"}}, nil, "nothing is wrong"},
		{"two reasons", []refusal{{ago(3), "offer refused", "", "b", ""}, {ago(2), "offer refused", "", "a", "look"}, {ago(1), "offer refused", "", "b", ""}}, nil,
			"! 1 offer refused: a; 2 offer refused: b; look"},
		{"the later hint", []refusal{{ago(3), "offer refused", "", "a", "old"}, {ago(2), "offer refused", "", "b", "new"}}, nil, "! 1 offer refused: a; 1 offer refused: b; new"},
		{"no reason", []refusal{{ago(1), "hole shut", "", "", "look"}}, []string{"note"}, "! 1 hole shut; look; note"},
		{"notes", nil, []string{"one", "two"}, "! one; two"},
	} {
		s := screen{look: look{time: at, refusals: tt.refusals, status: control.Status{Notes: tt.notes}}}
		if got := s.wrong(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestOrder: each order has most of what it is by first, and is the same at each look.
func TestOrder(t *testing.T) {
	list := many(4) // the first is the oldest
	list[0].BytesDown, list[1].BytesUp, list[2].Idle, list[3].Client = 10, 20, control.Duration(time.Minute), netip.MustParseAddrPort("10.0.0.0:1")
	s := look{time: time.Now(), sessions: list}
	for o, want := range map[order][]uint64{byRate: {1, 2, 3, 4}, byBytes: {2, 1, 3, 4}, byIdle: {3, 1, 2, 4}, byAge: {1, 2, 3, 4}, byClient: {4, 1, 2, 3}} {
		rows := s.rows(&look{}, "")
		slices.Reverse(rows)
		sortRows(rows, o)
		var got []uint64
		for i := range rows {
			got = append(got, rows[i].ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %s: %v, want %v", o, got, want)
		}
	}
}

// TestRates: a rate is of a session that was there before, with as many bytes or more;
// one that conntrack counts anew has none for once.
func TestRates(t *testing.T) {
	at := time.Now()
	old, young := many(3), many(4)
	for i := range young {
		young[i].BytesDown = 3000
	}
	old[0].BytesDown, old[1].BytesDown, old[2].BytesUp = 1000, 4000, 1
	rows := (&look{time: at.Add(2 * time.Second), sessions: young}).rows(&look{time: at, sessions: old}, "")
	for i, want := range []float64{1000, 0, 0, 0} {
		if rows[i].down != want || rows[i].up != 0 {
			t.Errorf("session %d: %v down, %v up; want %v down", rows[i].ID, rows[i].down, rows[i].up, want)
		}
	}
	for _, r := range (&look{time: at, sessions: young}).rows(&look{time: at, sessions: old}, "") {
		if r.down != 0 {
			t.Errorf("two looks at the same time give a rate of %v", r.down)
		}
	}
}

// TestAway: while no daemon answers the foot says so, whatever keys are pressed, and
// not any more once one does.
func TestAway(t *testing.T) {
	d := &daemon{sessions: many(3)}
	m := &model{ctx: t.Context(), src: d, interval: time.Hour}
	m.Update(tea.WindowSizeMsg{Width: 120, Height: 20})
	foot := func() string { return m.frame()[strings.LastIndexByte(m.frame(), '\n')+1:] }
	for _, step := range []struct {
		err  error
		keys string
		want string
	}{
		{nil, "", "q quit"}, {errors.New("no daemon answers"), "", "no daemon answers"}, {errors.New("no daemon answers"), "s", "no daemon answers"},
		{errors.New("no daemon answers"), "", "no daemon answers"}, {nil, "", "q quit"},
	} {
		d.err = step.err
		m.Update(m.ask())
		if press(t, m, letters(step.keys)...); !strings.HasPrefix(foot(), step.want) {
			t.Errorf("%v: the foot is %q, want %q", step, foot(), step.want)
		}
	}
	press(t, m, tea.KeyPressMsg{Code: tea.KeyDown})
	press(t, m, letters("ey")...)
	if m.Update(m.ask()); !strings.HasPrefix(foot(), "session 1 was reset") {
		t.Errorf("the next look takes away what became of an action: %q", foot())
	}
}
