// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Level is how bad a finding is.
type Level string

// The levels, worst first.
const (
	Problem Level = "problem" // FTP does not work, or not always
	Warn    Level = "warn"    // it may not work, or that is unknown
	OK      Level = "ok"
)

// levels in the order of the text.
var levels = []Level{Problem, Warn, OK}

// Topics of findings.
const (
	topicKernel   = "kernel"
	topicTracker  = "tracker"
	topicConflict = "conflict"
	topicDaemon   = "daemon"
	topicControl  = "control"
	topicData     = "data"
	topicPair     = "pair"
)

// A Finding is one result of the examination.
type Finding struct {
	Level    Level    `json:"level"`
	Topic    string   `json:"topic"` // kernel, tracker, pair, conflict, daemon, control, data
	Position string   `json:"position,omitempty"`
	Families []string `json:"families,omitempty"` // "IPv4", "IPv6"
	Ports    []string `json:"ports,omitempty"`    // control ports, "21", "8021-8025"
	Text     string   `json:"text"`
	Detail   []string `json:"detail,omitempty"` // what was seen
	Hint     []string `json:"hint,omitempty"`   // what to do
}

// A Report is all findings.
type Report struct {
	Table    string    `json:"table"`
	Ports    []string  `json:"ports"`
	Allow    string    `json:"allow"`
	Probed   string    `json:"probed"` // where kernel features were probed
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	Findings []Finding `json:"findings"`
}

// add adds a finding, or its family to an existing one.
func (r *Report) add(f Finding) {
	for i := range r.Findings {
		if old := &r.Findings[i]; old.same(f) {
			for _, family := range f.Families {
				if !slices.Contains(old.Families, family) {
					old.Families = append(old.Families, family)
				}
			}
			for _, port := range f.Ports {
				if !slices.Contains(old.Ports, port) {
					old.Ports = append(old.Ports, port)
				}
			}
			return
		}
	}
	r.Findings = append(r.Findings, f)
}

// same reports whether two findings differ only in family or ports. Findings on
// one family with different ports are merged, and so are those on one port.
func (f Finding) same(g Finding) bool {
	return f.Level == g.Level && f.Topic == g.Topic && f.Position == g.Position && f.Text == g.Text &&
		slices.Equal(f.Detail, g.Detail) && slices.Equal(f.Hint, g.Hint) &&
		(slices.Equal(f.Ports, g.Ports) || slices.Equal(f.Families, g.Families))
}

// finish sorts the findings, worst first, and counts them.
func (r *Report) finish() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Compare(slices.Index(levels, a.Level), slices.Index(levels, b.Level))
	})
	for _, f := range r.Findings {
		switch f.Level {
		case Problem:
			r.Problems++
		case Warn:
			r.Warnings++
		}
	}
}

// Fine reports whether there is no problem.
func (r *Report) Fine() bool { return r.Problems == 0 }

// WriteText writes r as text: "!" begins what to do.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "control %s %s, table %s, allow %s\nkernel features tried in %s\n",
		plural(len(r.Ports), "port"), strings.Join(r.Ports, ", "), r.Table, r.Allow, r.Probed)
	level := Level("")
	for _, f := range r.Findings {
		if f.Level != level {
			level = f.Level
			fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(string(level)))
		}
		fmt.Fprintf(&b, "  %s%s\n", f.where(), f.Text)
		for _, d := range f.Detail {
			fmt.Fprintf(&b, "      %s\n", d)
		}
		for _, h := range f.Hint {
			fmt.Fprintf(&b, "    ! %s\n", h)
		}
	}
	fmt.Fprintf(&b, "\n%d %s, %d %s\n", r.Problems, plural(r.Problems, "problem"), r.Warnings, plural(r.Warnings, "warning"))
	if r.Problems+r.Warnings > 0 {
		b.WriteString("Lines with ! say what to do. Commands change the running ruleset: put the same into your file.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// where is the subject of a finding, with a colon.
func (f Finding) where() string {
	var words []string
	if f.Position != "" {
		words = append(words, f.Position)
	}
	if len(f.Ports) > 0 {
		words = append(words, plural(len(f.Ports), "port")+" "+strings.Join(f.Ports, ", "))
	}
	if len(f.Families) == 1 {
		words = append(words, f.Families[0])
	}
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, ", ") + ": "
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// An Answer is the doctor's output, a report or the result of its self-test. As
// JSON it is written unchanged.
type Answer interface {
	Fine() bool // exit status 0
	WriteText(io.Writer) error
}
