// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Times of the progress.
const (
	slowTest  = 10 * time.Second // a top-level test that took longer gets a line of its own
	heartbeat = 30 * time.Second // interval of reports on a package that takes longer
)

// A progress prints one run as it happens.
type progress struct {
	w        io.Writer
	now      func() time.Time
	packages map[string]*pkgProgress
}

// A pkgProgress is a package whose tests are running.
type pkgProgress struct {
	passed, failed, skipped int
	last                    time.Time       // when the last line about it was printed
	none                    bool            // it has no tests
	parents                 map[string]bool // tests with subtests, which count for themselves
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, now: time.Now, packages: map[string]*pkgProgress{}}
}

func (p *progress) event(e event) {
	if e.Package == "" {
		return
	}
	pkg := p.packages[e.Package]
	if pkg == nil {
		pkg = &pkgProgress{last: p.now(), parents: map[string]bool{}}
		p.packages[e.Package] = pkg
	}
	switch {
	case e.Action == "output":
		pkg.none = pkg.none || e.Test == "" && strings.Contains(e.Output, "[no test files]")
	case e.Test != "":
		p.test(pkg, e)
	case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
		p.end(pkg, e)
	}
}

// test prints a test that failed or took long; otherwise, from time to time, a
// sign of life.
func (p *progress) test(pkg *pkgProgress, e event) {
	switch {
	case e.Action == "run":
		for i, c := range e.Test {
			if c == '/' {
				pkg.parents[e.Test[:i]] = true
			}
		}
		return
	case pkg.parents[e.Test] && e.Action != "fail":
	case e.Action == "pass":
		pkg.passed++
	case e.Action == "skip":
		pkg.skipped++
	case e.Action == "fail":
		pkg.failed++
		p.line(pkg, "  FAIL  %s %s", shortName(e.Package), e.Test)
		return
	default:
		return
	}
	slow := !strings.Contains(e.Test, "/") && e.Elapsed > slowTest.Seconds()
	if slow || p.now().Sub(pkg.last) > heartbeat {
		p.line(pkg, "  ...   %s: %d tests done, the last %s (%s)", shortName(e.Package),
			pkg.passed+pkg.failed+pkg.skipped, e.Test, seconds(e.Elapsed))
	}
}

// end prints the line of a package that is done. A failed test with subtests is
// counted here whatever its subtests did; the summary looks closer.
func (p *progress) end(pkg *pkgProgress, e event) {
	if pkg.none {
		return
	}
	word := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "skip"}[e.Action]
	counts := fmt.Sprintf("%d passed", pkg.passed)
	if pkg.failed > 0 {
		counts += fmt.Sprintf(", %d failed", pkg.failed)
	}
	if pkg.skipped > 0 {
		counts += fmt.Sprintf(", %d skipped", pkg.skipped)
	}
	p.line(pkg, "%-5s %-32s %8s   %s", word, shortName(e.Package), seconds(e.Elapsed), counts)
}

func (p *progress) line(pkg *pkgProgress, format string, args ...any) {
	pkg.last = p.now()
	fmt.Fprintf(p.w, format+"\n", args...)
}
