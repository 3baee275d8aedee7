// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A test is one test function or subtest, or, with an empty Name, what a package
// does outside of them: building, TestMain, a crash.
type test struct{ pkg, name string }

func (t test) String() string {
	if t.name == "" {
		return shortName(t.pkg)
	}
	return shortName(t.pkg) + " " + t.name
}

// A result is the outcome of a test.
type result struct {
	action string // pass, fail or skip; "" while it runs
	output []string
}

// A tally is the outcome of all tests, of one run or of several.
type tally struct {
	results map[test]*result
	loose   []string // output that belongs to no package
}

func newTally() *tally { return &tally{results: map[test]*result{}} }

func (t *tally) result(k test) *result {
	r := t.results[k]
	if r == nil {
		r = &result{}
		t.results[k] = r
	}
	return r
}

// event handles one event of a run.
func (t *tally) event(e event) {
	switch e.Action {
	case "run":
		t.result(test{e.Package, e.Test})
	case "output":
		if e.Package == "" {
			t.loose = append(t.loose, e.Output)
			return
		}
		t.add(test{e.Package, e.Test}, e.Output)
	case "build-output":
		t.add(test{built(e.ImportPath), ""}, e.Output)
	case "build-fail":
		t.result(test{built(e.ImportPath), ""}).action = "fail"
	case "pass", "skip", "fail":
		t.result(test{e.Package, e.Test}).action = e.Action
		if failed := built(e.FailedBuild); failed != "" && failed != e.Package {
			t.add(test{e.Package, ""}, "needs "+failed+", which does not build\n")
		}
	}
}

func (t *tally) add(k test, line string) {
	r := t.result(k)
	r.output = append(r.output, line)
}

// finish closes a run: a test that began and never ended was cut off, and one
// that has subtests, or a package with tests, is no test of its own.
func (t *tally) finish() {
	for k, r := range t.results {
		if k.name != "" && r.action == "" {
			r.action = "fail"
			r.output = append(r.output, "    did not end: the test binary crashed or ran out of time\n")
		}
	}
	// Children first, so that a parent is judged by what its children are.
	keys := slices.SortedFunc(maps.Keys(t.results), func(a, b test) int {
		return cmp.Compare(len(b.name), len(a.name))
	})
	all, parents, blamed := maps.Clone(t.results), map[test]bool{}, map[test]bool{}
	for _, k := range keys {
		r := t.results[k]
		// A parent fails with its child; a package also fails without one.
		if parents[k] && (r.action != "fail" || blamed[k]) || k.name == "" && r.action != "fail" {
			delete(t.results, k)
		}
		if k.name != "" {
			up := k.parent(all)
			parents[up] = true
			blamed[up] = blamed[up] || r.action == "fail"
		}
	}
}

// parent is the test among all that k is a subtest of, or its package. The name of
// a subtest may have slashes of its own.
func (k test) parent(all map[test]*result) test {
	up := k
	for up.name != "" {
		up.name = up.name[:max(strings.LastIndexByte(up.name, '/'), 0)]
		if all[up] != nil {
			break
		}
	}
	return up
}

// merge adds another run that is finished.
func (t *tally) merge(other *tally) {
	rank := map[string]int{"": 0, "skip": 1, "pass": 2, "fail": 3}
	for k, r := range other.results {
		mine := t.result(k)
		switch {
		case rank[r.action] > rank[mine.action]:
			t.results[k] = r
		case r.action == "fail":
			mine.output = append(mine.output, r.output...)
		}
	}
	t.loose = append(t.loose, other.loose...)
}

// report writes output of failed tests, the skipped ones by reason, the failed
// ones by name, and as the last line the count. It is false if anything failed.
func (t *tally) report(w io.Writer) bool {
	passed, failed, skipped := t.of("pass"), t.of("fail"), t.of("skip")
	t.reportSkipped(w, skipped)
	for _, k := range failed {
		fmt.Fprintf(w, "\n--- failed: %v\n", k)
		for _, line := range t.results[k].output {
			fmt.Fprint(w, "    "+line)
		}
	}
	if len(failed) > 0 {
		if len(t.loose) > 0 {
			fmt.Fprintf(w, "\n--- said by go\n    %s", strings.Join(t.loose, "    "))
		}
		fmt.Fprintf(w, "\nfailed:\n")
		for _, k := range failed {
			fmt.Fprintf(w, "    %v\n", k)
		}
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", len(passed), len(failed), len(skipped))
	return len(failed) == 0
}

// reportSkipped writes the skipped tests, grouped by their reason.
func (t *tally) reportSkipped(w io.Writer, skipped []test) {
	byReason := map[string][]test{}
	for _, k := range skipped {
		reason := skipReason(t.results[k].output)
		byReason[reason] = append(byReason[reason], k)
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		fmt.Fprintf(w, "\nskipped (%d): %s\n", len(byReason[reason]), reason)
		for _, k := range byReason[reason] {
			fmt.Fprintf(w, "    %v\n", k)
		}
	}
}

// of are the tests with an outcome, sorted.
func (t *tally) of(action string) []test {
	var all []test
	for k, r := range t.results {
		if r.action == action {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b test) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.name, b.name))
	})
	return all
}

// logged is a line that t.Skip or t.Log wrote: "    file_test.go:17: text"; or
// one of a script that was skipped: "    vm-test: text".
var logged = regexp.MustCompile(`^\s+(?:\S+\.go:\d+|vm-test): (.*)`)

// skipReason is the last thing that a skipped test logged.
func skipReason(output []string) string {
	reason := "no reason given"
	for _, line := range output {
		if m := logged.FindStringSubmatch(line); m != nil {
			reason = m[1]
		}
	}
	return reason
}
