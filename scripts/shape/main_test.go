// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/go/packages"
)

// TestShape measures a package that was made for it: a and b need each other, c
// closes a circle with them, d is apart.
func TestShape(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module m\n\ngo 1.26\n",
		"a.go":      "package m\n\ntype A struct{ b *B }\n\nfunc (A) One() C { return C{} }\n",
		"b.go":      "package m\n\ntype B struct{ a A }\n\nfunc (A) Two() {}\n",
		"c.go":      "package m\n\ntype C struct{}\n\nfunc c() B { return B{} }\n",
		"d.go":      "package m\n\nconst d = 1\n",
		"m_test.go": "package m\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := packages.Load(&packages.Config{Mode: mode, Dir: dir}, ".")
	if err != nil || packages.PrintErrors(list) > 0 {
		t.Fatal(err)
	}
	want := shape{name: "m", lines: 18, files: 4, tests: 1, exported: 3, knot: 3, knotLines: 15, mutual: 1, methods: 2, of: "A"}
	if diff := cmp.Diff(want, *shapeOf(list[0]), cmp.AllowUnexported(shape{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var ties strings.Builder
	printTies(&ties, list[0])
	const why = "m: 3 files\n  a.go needs b.go: B\n  a.go needs c.go: C\n  b.go needs a.go: A\n  c.go needs b.go: B\n"
	if diff := cmp.Diff(why, ties.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestOver: each figure has its limit, which it may reach.
func TestOver(t *testing.T) {
	limits := limits{knot: 3, mutual: 2, methods: 5}
	for _, tt := range []struct {
		is   shape
		want []string
	}{
		{shape{knot: 3, mutual: 2, methods: 5, of: "A"}, nil},
		{shape{knot: 4, mutual: 3, methods: 6, of: "A"}, []string{
			"4 files of a knot, want 3 at most", "3 pairs of files that need each other, want 2 at most", "6 methods of A, want 5 at most",
		}},
	} {
		if diff := cmp.Diff(tt.want, tt.is.over(limits)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}
