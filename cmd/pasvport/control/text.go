// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteJSON writes an answer as indented JSON, with < and > unescaped.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// WriteStatus writes a status as text. now is the time of the reader.
func WriteStatus(w io.Writer, s Status, now time.Time) error {
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.row("pasvport", s.Version)
	t.row("pid", s.PID)
	t.row("up", age(s.Started, now))
	t.row("table", s.Table)
	t.row("ports", strings.Join(s.Ports, ", "))
	t.row("allow", s.Allow)
	t.row("fail", s.Fail)
	if s.Monitor {
		t.row("monitor", "on: everything is read and judged, nothing is changed or opened")
	}
	t.row("configuration", cmp.Or(s.ConfigFile, "no file, flags and defaults"))
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		t.row("setting", Clean(name+" "+strings.Join(s.Settings[name], ", ")))
	}
	t.row("tls", s.TLS)
	t.row("tls-ports", dash(strings.Join(s.TLSPorts, ", ")))
	t.row("checks", s.Checks)
	t.row("repair", s.Repair)
	t.row("advertise", dash(strings.Join(s.Advertise, ", ")))
	for _, o := range s.Outside {
		t.row("outside", o.text(now))
	}
	t.row("keep-alive", s.keepalive(s.Keepalive))
	t.row("session-idle", s.keepalive(s.SessionIdle))
	t.row("ct mark", s.CTMark)
	t.row("strategy", fmt.Sprintf("%s, carrier %s", s.Strategy, s.Carrier))
	t.row("features", features(s.Features))
	t.row("sessions", s.Sessions)
	t.row("pinholes", fmt.Sprintf("%d open", s.PinholesOpen))
	t.row("limits", fmt.Sprintf("sessions %v, of one client %v; pinholes %v, of one client %v",
		s.Limits.Sessions, s.Limits.ClientSessions, s.Limits.Pinholes, s.Limits.ClientPinholes))
	t.row("login-failures", dash(s.LoginFailures))
	for _, b := range s.Blocked {
		t.row("blocked", fmt.Sprintf("%s, for %s", b.Client, b.Until.Sub(now).Truncate(time.Second)))
	}
	t.row("heals", fmt.Sprintf("rules put back %d times", s.Heals))
	for _, q := range s.Queues {
		t.row(fmt.Sprintf("queue %d", q.Num), fmt.Sprintf("%s, %d packets, %d waiting, %d dropped, %d enobufs, %d unreadable",
			s.QueueKind, q.Packets, q.Waiting, q.Dropped, q.ENOBUFS, q.Errors))
	}
	if s.ExpectationsMax > 0 {
		t.row("expectations", fmt.Sprintf("%d, of %d that the kernel has room for", s.Expectations, s.ExpectationsMax))
	}
	if s.LinesUnread > 0 {
		t.row("unread", fmt.Sprintf("%d lines passed in the kernel", s.LinesUnread))
	}
	s.Peer.rows(t, now)
	for _, reason := range slices.Sorted(maps.Keys(s.Decisions)) {
		t.row("decided "+reason, s.Decisions[reason])
	}
	for _, note := range s.Notes {
		t.row("note", Clean(note))
	}
	return t.flush()
}

// rows adds the rows about the other firewall of a pair.
func (p *Peer) rows(t *table, now time.Time) {
	if p == nil {
		return
	}
	link := fmt.Sprintf("%s, %s for %s", p.Address, linkWords[p.Link], age(p.Since, now))
	if p.Reason != "" {
		link += ": " + Clean(p.Reason)
	}
	t.row("peer", link)
	if p.Hint != "" {
		t.row("peer hint", Clean(p.Hint))
	}
	t.row("peer sessions", fmt.Sprintf("%d told, %d held for it, %d of its own adopted here", p.Told, p.Held, p.Adopted))
	t.row("peer lag", fmt.Sprintf("%.1f ms, %d announcements waited (%s), its clock is %+.1f s from ours", p.Lag*1000, p.Waits, p.Wait, p.Skew))
	if x := p.TakeOver; x != nil {
		t.row("last take-over", fmt.Sprintf("%s ago, %d sessions within %.0f ms", age(x.At, now), x.Sessions, x.Seconds*1000))
	}
}

// linkWords describe the states of a link.
var linkWords = map[PeerLink]string{PeerUp: "up", PeerDown: "down", PeerDeaf: "does not hear us", PeerMute: "tells nothing"}

// keepalive is an idle time, and why it has no effect if it has none.
func (s *Status) keepalive(after string) string {
	if s.KeepaliveError == "" || after == "off" {
		return after
	}
	return after + " was asked for and is not possible: " + Clean(s.KeepaliveError)
}

// features lists the available ones, then the missing ones.
func features(m map[string]bool) string {
	var yes, no []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name] {
			yes = append(yes, name)
		} else {
			no = append(no, "no "+name)
		}
	}
	return cmp.Or(strings.Join(append(yes, no...), ", "), "-")
}

// WriteSessions writes one line for each control connection, oldest first: what
// each end sees of the other if it is translated, and a note if there is one. now
// is the time of the reader.
func WriteSessions(w io.Writer, sessions []Session, now time.Time) error {
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	translated := slices.ContainsFunc(sessions, func(s Session) bool { return s.NAT != NATNone && s.NAT != "" })
	head := []any{"ID", "CLIENT", "SERVER", "USER", "LAST", "MODE", "STATE", "AGE", "IDLE", "DOWN", "UP", "PINHOLE"}
	if translated {
		head = append(head, "NAT", "SEEN AS", "DIALLED")
	}
	t.row(append(head, "NOTE")...)
	sorted := slices.SortedFunc(slices.Values(sessions), func(a, b Session) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	for _, s := range sorted {
		row := []any{s.ID, addr(s.Client), addr(s.Server), dash(Clean(s.User)), dash(Clean(s.LastCommand)), dash(string(s.Mode)),
			StateWord(s), ShortTime(now.Sub(s.Started)), ShortTime(time.Duration(s.Idle)), s.carried(s.BytesDown), s.carried(s.BytesUp), s.pinhole()}
		if translated {
			row = append(row, dash(string(s.NAT)), addr(s.SeenAs), addr(s.Dialled))
		}
		t.row(append(row, dash(Clean(s.Note)))...)
	}
	return t.flush()
}

// WriteOffers writes the last announcement of each control connection that has
// made one: what its sender announced, what was forwarded instead, where the data
// connection ends, and why.
func WriteOffers(w io.Writer, sessions []Session, now time.Time) error {
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.row("ID", "CLIENT", "SERVER", "VERB", "ANNOUNCED", "SENT AS", "TARGET", "PINHOLE", "AGO", "REASON")
	for _, s := range sessions {
		if o := s.Offer; o != nil {
			t.row(s.ID, addr(s.Client), addr(s.Server), Clean(o.Verb), addr(o.Announced), addr(o.Translated), addr(o.Target),
				dash(string(o.Pinhole)), ShortTime(now.Sub(o.Time)), dash(Clean(o.Reason)))
		}
	}
	return t.flush()
}

// WriteServers writes one line for each address of a server. now is the time
// of the reader.
func WriteServers(w io.Writer, servers []Server, now time.Time) error {
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.row("VIRTUAL", "METHOD", "SERVER", "ADDRESS", "WEIGHT", "STATE", "FOR", "SESSIONS", "SHARE", "LAST CHECK", "AGO")
	for _, s := range servers {
		t.row(s.Virtual, s.Method, s.Name, addr(s.Address), s.Weight, s.State, age(s.Since, now), s.Sessions,
			fmt.Sprintf("%.0f%%", 100*s.Share), dash(Clean(s.Check)), age(s.Checked, now))
	}
	return t.flush()
}

// pinhole is the state of the last offer.
func (s *Session) pinhole() string {
	if s.Offer == nil {
		return "-"
	}
	return dash(string(s.Offer.Pinhole))
}

// carried is a number of bytes, if they are counted.
func (s *Session) carried(n uint64) string {
	if !s.Data.Accounting {
		return "-"
	}
	return Size(n)
}

// StateWord is what a session does: "tls" if it is encrypted, "opaque" if it is left alone, "transfer"
// while data connections are open, "login" before the login is accepted.
func StateWord(s Session) string {
	switch {
	case s.State != "established":
		return dash(s.State)
	case s.Encrypted:
		return "tls"
	case s.Opaque:
		return "opaque"
	case s.Transferring:
		return "transfer"
	case s.Login == "asked" || s.Login == "failed":
		return "login"
	}
	return "idle"
}

// ShortTime is a time with its two largest units.
func ShortTime(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Hour:
		return d.Truncate(time.Second).String()
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// table writes rows of aligned cells.
type table struct {
	w   *tabwriter.Writer
	err error
}

func (t *table) row(cells ...any) {
	if t.err != nil {
		return
	}
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	_, t.err = fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

func (t *table) flush() error {
	if t.err != nil {
		return t.err
	}
	return t.w.Flush()
}

// Clean sanitises text from the network: no control character reaches the
// terminal, no tab breaks the table, and no name fills the screen.
func Clean(s string) string {
	const longest = 80
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= longest {
			b.WriteString("...")
			break
		}
		if strconv.IsPrint(r) && r != '\uFFFD' {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

func addr(a netip.AddrPort) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func dash(s string) string { return cmp.Or(s, "-") }

// age is the time since start in whole seconds.
func age(start, now time.Time) string {
	if start.IsZero() {
		return "-"
	}
	return max(now.Sub(start), 0).Truncate(time.Second).String()
}

// Size is a number of bytes with three digits or so.
func Size(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for ; f >= 999.5 && i < len(units)-1; i++ {
		f /= 1000
	}
	return fmt.Sprintf("%.3g %cB", f, units[i])
}

// text says what is announced for o, and how well that is known.
func (o *Outside) text(now time.Time) string {
	text := fmt.Sprintf("%s is %s", o.Of, cmp.Or(o.Address, "not known"))
	if !o.Found.IsZero() {
		text += fmt.Sprintf(", found %s ago", now.Sub(o.Found).Truncate(time.Second))
	}
	if o.Next.After(now) {
		text += fmt.Sprintf(", again in %s", o.Next.Sub(now).Truncate(time.Second))
	}
	if o.Error != "" {
		text += ": " + o.Error
	}
	return text
}
