// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A show reports what happens while it happens. A nil one prints nothing.
type show struct {
	w      io.Writer
	colour bool
	scenes int
	blank  bool // the last line was empty
}

// newShow writes to w, in colour on a terminal (no-color.org); w may be nil.
func newShow(w io.Writer) *show {
	if w == nil {
		return nil
	}
	s := &show{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		s.colour = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

// Terminal attributes (ECMA-48 SGR).
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (s *show) paint(attribute, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + attribute + "m" + text + "\x1b[0m"
}

// line writes a line, without blanks at its end.
func (s *show) line(text string) {
	if s != nil {
		s.blank = text == ""
		_, _ = io.WriteString(s.w, strings.TrimRight(text, " ")+"\n")
	}
}

// gap makes sure that an empty line precedes what follows.
func (s *show) gap() {
	if s != nil && !s.blank {
		s.line("")
	}
}

// scene begins a numbered part.
func (s *show) scene(title string) {
	if s == nil {
		return
	}
	s.scenes++
	s.gap()
	s.line(s.paint(bold, fmt.Sprintf("%d. %s", s.scenes, title)))
	s.gap()
}

// heading begins a part of a scene.
func (s *show) heading(title string) {
	if s != nil {
		s.gap()
		s.line("   " + s.paint(bold, title))
	}
}

// text writes plain sentences between empty lines, each line indented.
func (s *show) text(text string) {
	s.gap()
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		s.line("   " + strings.TrimRight(line, "\n"))
	}
	s.gap()
}

// quote quotes text of others: a ruleset, a log.
func (s *show) quote(text string) {
	if s == nil {
		return
	}
	for line := range strings.Lines(text) {
		s.line("     " + s.paint(dim, strings.TrimRight(line, "\n")))
	}
}

// logWidth is where log lines are broken.
const logWidth = 105

// log writes log lines, the long ones broken between words.
func (s *show) log(lines []string) {
	for _, line := range lines {
		indent := ""
		for len(indent)+len(line) > logWidth {
			cut := strings.LastIndexByte(line[:logWidth-len(indent)], ' ')
			if cut <= 0 {
				break
			}
			s.quote(indent + line[:cut])
			line, indent = line[cut+1:], "    "
		}
		s.quote(indent + line)
	}
}

// row writes one line of a table: a label, a value.
func (s *show) row(label, value string) {
	s.line(fmt.Sprintf("     %-20s %s", label, value))
}

// result writes the result of a step.
func (s *show) result(step *Step, saw string) {
	if s == nil {
		return
	}
	switch {
	case step.Skipped != "":
		s.line(fmt.Sprintf("     skip  %s: %s", step.Name, step.Skipped))
	case step.OK:
		s.line(fmt.Sprintf("     %s    %-60s %s", s.paint(green, "ok"), step.Name, saw))
	default:
		s.line(fmt.Sprintf("     %s  %s: %s", s.paint(red, "FAIL"), step.Name, step.Error))
	}
}
