// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// run is a recorded run: subtests of all outcomes, a parent that fails on its own,
// a package that crashed in a test and one that does not build.
const recorded = `
{"Action":"run","Package":"m/a","Test":"TestTable"}
{"Action":"run","Package":"m/a","Test":"TestTable/one"}
{"Action":"pass","Package":"m/a","Test":"TestTable/one","Elapsed":0}
{"Action":"run","Package":"m/a","Test":"TestTable/two"}
{"Action":"output","Package":"m/a","Test":"TestTable/two","Output":"    a_test.go:9: got 1, want 2\n"}
{"Action":"fail","Package":"m/a","Test":"TestTable/two","Elapsed":0}
{"Action":"run","Package":"m/a","Test":"TestTable/three"}
{"Action":"output","Package":"m/a","Test":"TestTable/three","Output":"    a_test.go:12: no vsftpd here\n"}
{"Action":"output","Package":"m/a","Test":"TestTable/three","Output":"--- SKIP: TestTable/three (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestTable/three","Elapsed":0}
{"Action":"fail","Package":"m/a","Test":"TestTable","Elapsed":0}
{"Action":"run","Package":"m/a","Test":"TestOwn"}
{"Action":"run","Package":"m/a","Test":"TestOwn/sub"}
{"Action":"pass","Package":"m/a","Test":"TestOwn/sub","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestOwn","Output":"    a_test.go:30: left something behind\n"}
{"Action":"fail","Package":"m/a","Test":"TestOwn","Elapsed":0}
{"Action":"fail","Package":"m/a","Elapsed":0.1}
{"Action":"run","Package":"m/b","Test":"TestHangs"}
{"Action":"output","Package":"m/b","Test":"TestHangs","Output":"panic: test timed out after 1s\n"}
{"Action":"fail","Package":"m/b","Elapsed":1}
{"ImportPath":"m/c [m/c.test]","Action":"build-output","Output":"c/c.go:3:1: undefined: x\n"}
{"ImportPath":"m/c [m/c.test]","Action":"build-fail"}
{"Action":"output","Package":"m/c","Output":"FAIL\tm/c [build failed]\n"}
{"Action":"fail","Package":"m/c","Elapsed":0,"FailedBuild":"m/c [m/c.test]"}
{"Action":"run","Package":"m/d","Test":"TestFine"}
{"Action":"pass","Package":"m/d","Test":"TestFine","Elapsed":12}
{"Action":"pass","Package":"m/d","Elapsed":12}
`

func tallyOf(t *testing.T, runs ...string) *tally {
	t.Helper()
	total := newTally()
	for _, r := range runs {
		one := newTally()
		if err := readEvents(strings.NewReader(strings.TrimSpace(r)), one.event); err != nil {
			t.Fatal(err)
		}
		one.finish()
		total.merge(one)
	}
	return total
}

func names(ts []test) []string {
	var all []string
	for _, k := range ts {
		all = append(all, k.String())
	}
	return all
}

func TestTally(t *testing.T) {
	got := tallyOf(t, recorded)
	want := map[string][]string{
		"pass": {"m/a TestOwn/sub", "m/a TestTable/one", "m/d TestFine"},
		"fail": {"m/a TestOwn", "m/a TestTable/two", "m/b TestHangs", "m/c"},
		"skip": {"m/a TestTable/three"},
	}
	for action, w := range want {
		if diff := cmp.Diff(w, names(got.of(action))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
}

// The name of a subtest may have a slash in it.
func TestTallySlash(t *testing.T) {
	got := tallyOf(t, `{"Action":"run","Package":"p","Test":"T"}
{"Action":"run","Package":"p","Test":"T/inet/filter"}
{"Action":"fail","Package":"p","Test":"T/inet/filter"}
{"Action":"fail","Package":"p","Test":"T"}
{"Action":"fail","Package":"p"}`)
	if diff := cmp.Diff([]string{"p T/inet/filter"}, names(got.of("fail"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMerge(t *testing.T) {
	skip := `{"Action":"run","Package":"p","Test":"T"}
{"Action":"skip","Package":"p","Test":"T"}`
	pass := strings.ReplaceAll(skip, "skip", "pass")
	fail := strings.ReplaceAll(skip, "skip", "fail")
	tests := []struct {
		name string
		runs []string
		want string
	}{
		{"skipped and passed", []string{skip, pass}, "pass"},
		{"passed and skipped", []string{pass, skip}, "pass"},
		{"passed and failed", []string{pass, fail}, "fail"},
		{"failed and passed", []string{fail, pass}, "fail"},
		{"skipped twice", []string{skip, skip}, "skip"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tallyOf(t, tt.runs...).of(tt.want); len(got) != 1 {
				t.Errorf("%d tests with outcome %s, want 1", len(got), tt.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	var out strings.Builder
	if tallyOf(t, recorded).report(&out) {
		t.Error("a run with failures is reported as good")
	}
	for _, want := range []string{
		"skipped (1): no vsftpd here\n    m/a TestTable/three\n",
		"--- failed: m/a TestTable/two\n        a_test.go:9: got 1, want 2\n",
		"left something behind",
		"panic: test timed out after 1s",
		"did not end",
		"undefined: x",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if want := "\n3 passed, 4 failed, 1 skipped\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("the report does not end with %q", want)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestReportGood(t *testing.T) {
	var out strings.Builder
	ok := tallyOf(t, `{"Action":"run","Package":"p","Test":"T"}
{"Action":"pass","Package":"p","Test":"T"}
{"Action":"pass","Package":"p"}`).report(&out)
	if !ok || out.String() != "\n1 passed, 0 failed, 0 skipped\n" {
		t.Errorf("report = %v, %q", ok, out.String())
	}
}

func TestProgress(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out)
	p.now = func() time.Time { return time.Unix(0, 0) }
	if err := readEvents(strings.NewReader(strings.TrimSpace(recorded)), p.event); err != nil {
		t.Fatal(err)
	}
	want := `  FAIL  m/a TestTable/two
  FAIL  m/a TestTable
  FAIL  m/a TestOwn
FAIL  m/a                                  0.1s   2 passed, 3 failed, 1 skipped
FAIL  m/b                                  1.0s   0 passed
FAIL  m/c                                  0.0s   0 passed
  ...   m/d: 1 tests done, the last TestFine (12.0s)
ok    m/d                                 12.0s   1 passed
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The reason of a skip is what the test, or the script, logged last.
func TestSkipReason(t *testing.T) {
	for _, tt := range []struct {
		output []string
		want   string
	}{
		{nil, "no reason given"},
		{[]string{"    a_test.go:1: first\n", "    b_test.go:2: this kernel has no netem\n", "--- SKIP: T (0.00s)\n"}, "this kernel has no netem"},
		{[]string{"    downloading linux-image-6.1\n", "    vm-test: no kernel package can be had\n"}, "no kernel package can be had"},
	} {
		if got := skipReason(tt.output); strings.TrimSpace(got) != tt.want {
			t.Errorf("%q: %q, want %q", tt.output, got, tt.want)
		}
	}
}
