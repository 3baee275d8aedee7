// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// screen is everything that a frame shows.
type screen struct {
	look, before  look
	order         order
	filter        string
	paused        bool
	selected      uint64 // id of a session; 0: none
	details       bool   // of the selected one
	asking        bool   // whether to end it
	typing        bool   // the filter
	message       string // of the last action
	away          error  // why the last look failed
	width, height int    // 0: unlimited
}

// lines of a frame besides the table: two of totals, what is wrong, a head, a foot.
const fixedLines = 5

// wrongTime is how long something counts as wrong now.
const wrongTime = time.Minute

// frame draws the screen, a line each.
func (s *screen) frame() string {
	rows := s.look.rows(&s.before, s.filter)
	sortRows(rows, s.order)
	lines := append(s.totals(rows), s.wrong())
	if s.details {
		lines = append(lines, s.detailsOf(rows)...)
	} else {
		lines = append(lines, s.table(rows)...)
	}
	if s.height > 0 && len(lines) >= s.height {
		lines = lines[:s.height-1]
	}
	for s.height > 0 && len(lines) < s.height-1 {
		lines = append(lines, "")
	}
	if s.height > 0 {
		lines = append(lines, s.foot())
	}
	for i := range lines {
		lines[i] = s.fit(lines[i])
	}
	return strings.Join(lines, "\n")
}

// fit cuts a line to the width.
func (s *screen) fit(line string) string {
	if s.width <= 0 || utf8.RuneCountInString(line) <= s.width {
		return line
	}
	return string([]rune(line)[:s.width])
}

// totals are the first two lines.
func (s *screen) totals(rows []row) []string {
	st := &s.look.status
	var down, up float64
	transferring, encrypted := 0, 0
	for i := range rows {
		down, up = down+rows[i].down, up+rows[i].up
		if rows[i].Transferring {
			transferring++
		}
		if rows[i].Encrypted {
			encrypted++
		}
	}
	waiting, dropped := uint64(0), uint64(0)
	for _, q := range st.Queues {
		waiting, dropped = waiting+q.Waiting, dropped+q.Dropped
	}
	first := fmt.Sprintf("pasvport %s, up %s, table %s, ports %s, %s, allow %s", st.Version,
		control.ShortTime(s.look.time.Sub(st.Started)), st.Table, strings.Join(st.Ports, ","), st.Strategy, st.Allow)
	second := fmt.Sprintf("%d sessions, %d transfer, %d encrypted; down %s/s, up %s/s; %d pinholes open; queue %d waiting, %d lost",
		len(rows), transferring, encrypted, control.Size(uint64(down)), control.Size(uint64(up)), st.PinholesOpen, waiting, dropped)
	if s.paused {
		second = "PAUSED  " + second // where a narrow terminal shows it
	}
	if st.Monitor {
		first = "MONITOR  " + first
	}
	return []string{first, second}
}

// wrong is a line on what is wrong now: refusals of the last minute by reason, and
// the daemon's notes.
func (s *screen) wrong() string {
	counts := map[string]int{}
	hint := ""
	for _, r := range s.look.refusals {
		if s.look.time.Sub(r.Time) <= wrongTime {
			counts[r.Event+": "+r.Reason]++
			hint = cmp.Or(r.Hint, hint)
		}
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[what], control.Clean(strings.TrimSuffix(what, ": "))))
	}
	if hint != "" {
		parts = append(parts, control.Clean(hint))
	}
	for _, n := range s.look.status.Notes {
		parts = append(parts, control.Clean(n))
	}
	if len(parts) == 0 {
		return "nothing is wrong"
	}
	return "! " + strings.Join(parts, "; ")
}

// columns of the table: head, width, and whether it is right-aligned.
var columns = []struct {
	head  string
	width int
	right bool
	cell  func(*screen, *row) string
}{
	{"CLIENT", 21, false, func(_ *screen, r *row) string { return r.Client.String() }},
	{"SERVER", 18, false, func(_ *screen, r *row) string { return r.Server.String() }},
	{"USER", 10, false, func(_ *screen, r *row) string { return control.Clean(r.User) }},
	{"LAST", 4, false, func(_ *screen, r *row) string { return control.Clean(r.LastCommand) }},
	{"MODE", 7, false, func(_ *screen, r *row) string { return string(r.Mode) }},
	{"STATE", 8, false, func(_ *screen, r *row) string { return control.StateWord(r.Session) }},
	{"IDLE", 6, true, func(_ *screen, r *row) string { return control.ShortTime(time.Duration(r.Idle)) }},
	{"DOWN/s", 8, true, func(_ *screen, r *row) string { return rate(r.down) }},
	{"UP/s", 8, true, func(_ *screen, r *row) string { return rate(r.up) }},
	{"TOTAL", 8, true, func(_ *screen, r *row) string { return bytesOf(r) }},
	{"AGE", 6, true, func(s *screen, r *row) string { return control.ShortTime(s.look.time.Sub(r.Started)) }},
	{"ID", 10, true, func(_ *screen, r *row) string { return fmt.Sprint(r.ID) }},
	{"NOTE", 40, false, func(_ *screen, r *row) string { return control.Clean(r.Note) }},
}

func rate(f float64) string {
	if f < 1 {
		return "-"
	}
	return control.Size(uint64(f))
}

func bytesOf(r *row) string {
	if !r.Data.Accounting {
		return "-"
	}
	return control.Size(r.BytesDown + r.BytesUp)
}

// table is the list of sessions, as far as there is room; it includes the
// selected one.
func (s *screen) table(rows []row) []string {
	lines := []string{s.line(func(c int) string { return columns[c].head }, ' ')}
	room := len(rows)
	if s.height > 0 {
		room = max(s.height-fixedLines, 0)
	}
	from := 0
	if i := s.indexOf(rows); i >= room {
		from = i - room + 1
	}
	for i := from; i < len(rows) && i < from+room; i++ {
		mark := ' '
		if rows[i].ID == s.selected {
			mark = '>'
		}
		lines = append(lines, s.line(func(c int) string { return columns[c].cell(s, &rows[i]) }, mark))
	}
	return lines
}

// indexOf returns the index of the selected session, or -1.
func (s *screen) indexOf(rows []row) int {
	return slices.IndexFunc(rows, func(r row) bool { return r.ID == s.selected })
}

// line puts cells into their columns, as many as fit into the width.
func (s *screen) line(cell func(int) string, mark rune) string {
	var b strings.Builder
	b.WriteRune(mark)
	used := 1
	for c := range columns {
		col := &columns[c]
		if used += col.width + 1; s.width > 0 && used > s.width+1 {
			break
		}
		text := []rune(cell(c))
		if len(text) > col.width {
			text = append(text[:col.width-1], '~')
		}
		pad := strings.Repeat(" ", col.width-len(text))
		if col.right {
			b.WriteString(pad + string(text) + " ")
		} else {
			b.WriteString(string(text) + pad + " ")
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// detailsOf are all details of the selected session.
func (s *screen) detailsOf(rows []row) []string {
	i := s.indexOf(rows)
	if i < 0 {
		return []string{"", "  the session has ended"}
	}
	r := &rows[i]
	list := [][2]string{
		{"session", fmt.Sprintf("%d, %s, %s old, idle %s", r.ID, control.StateWord(r.Session), control.ShortTime(s.look.time.Sub(r.Started)), control.ShortTime(time.Duration(r.Idle)))},
		{"client", fmt.Sprintf("%s, seen as %s", r.Client, r.SeenAs)},
		{"server", fmt.Sprintf("%s, dialled as %s", r.Server, r.Dialled)},
		{"user", fmt.Sprintf("%s, login %s", dash(control.Clean(r.User)), r.Login)},
		{"commands", dash(control.Clean(strings.Join(r.RecentCommands, " ")))},
		{"data", fmt.Sprintf("%d connections, %s down (%s/s), %s up (%s/s)", r.Data.Connections, control.Size(r.BytesDown), rate(r.down), control.Size(r.BytesUp), rate(r.up))},
	}
	if o := r.Offer; o != nil {
		list = append(list, [2]string{"offer", fmt.Sprintf("%s %s, sent as %s, to %s: %s (%s)", control.Clean(o.Verb), o.Announced, o.Translated, o.Target, o.Pinhole, control.Clean(o.Reason))})
	}
	if r.Note != "" {
		list = append(list, [2]string{"note", control.Clean(r.Note)})
	}
	lines := []string{""}
	for _, item := range list {
		lines = append(lines, fmt.Sprintf("  %-9s %s", item[0], item[1]))
	}
	return lines
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// foot shows the keys, or a question.
func (s *screen) foot() string {
	switch {
	case s.asking:
		return fmt.Sprintf("reset both ends of session %d? y/n", s.selected)
	case s.typing:
		return "filter: " + s.filter + "_"
	case s.message != "":
		return s.message
	case s.away != nil:
		return s.away.Error()
	}
	foot := "q quit  s sort: " + s.order.String() + "  / filter  p pause  up/down select  enter details  e end"
	if s.filter != "" {
		foot += "  [" + s.filter + "]"
	}
	return foot
}
