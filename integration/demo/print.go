// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A printer writes the report.
type printer struct {
	w      io.Writer
	colour bool
	steps  int
	checks []check
}

// A check is one thing that had to come out in a certain way.
type check struct {
	what string
	saw  string
	ok   bool
}

// newPrinter prints to standard output, in colour on a terminal (no-color.org).
func newPrinter() *printer {
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &printer{w: os.Stdout, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Terminal attributes (ECMA-48 SGR).
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (p *printer) paint(attribute, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + attribute + "m" + s + "\x1b[0m"
}

// logWidth is where log lines are broken.
const logWidth = 105

// step begins a numbered part of the report.
func (p *printer) step(title string) {
	p.steps++
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, fmt.Sprintf("%d. %s", p.steps, title)))
}

// heading begins a part of a step.
func (p *printer) heading(title string) {
	fmt.Fprintf(p.w, "\n   %s\n", p.paint(bold, title))
}

// text writes plain sentences, each line indented.
func (p *printer) text(s string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		fmt.Fprintln(p.w, strings.TrimRight("   "+line, " "))
	}
}

// quote writes somebody else's words: a ruleset, a log.
func (p *printer) quote(s string) {
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		fmt.Fprintln(p.w, "     "+p.paint(dim, line))
	}
}

// log writes log lines, the long ones broken between words.
func (p *printer) log(lines []string) {
	for _, line := range lines {
		indent := ""
		for len(indent)+len(line) > logWidth {
			cut := strings.LastIndexByte(line[:logWidth-len(indent)], ' ')
			if cut <= 0 {
				break
			}
			p.quote(indent + line[:cut])
			line, indent = line[cut+1:], "    "
		}
		p.quote(indent + line)
	}
}

// row writes one line of a table: a label, a value.
func (p *printer) row(label, value string) {
	fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf("     %-18s %s", label, value), " "))
}

// check writes and keeps a result.
func (p *printer) check(what, saw string, ok bool) {
	p.checks = append(p.checks, check{what, saw, ok})
	p.printCheck(p.checks[len(p.checks)-1])
}

func (p *printer) printCheck(c check) {
	fmt.Fprintf(p.w, "     %s  %-48s %s\n", p.verdict(c.ok), c.what, c.saw)
}

func (p *printer) verdict(ok bool) string {
	if ok {
		return p.paint(green, "PASS")
	}
	return p.paint(red, "FAIL")
}

// summary repeats all checks and says whether every one came out right.
func (p *printer) summary() bool {
	p.step("Summary")
	right := 0
	fmt.Fprintln(p.w)
	for _, c := range p.checks {
		if c.ok {
			right++
		}
		p.printCheck(c)
	}
	all := right == len(p.checks)
	fmt.Fprintf(p.w, "\n   %d of %d as it should be: %s\n", right, len(p.checks), p.verdict(all))
	return all
}
