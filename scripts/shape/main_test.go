// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
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
	const mode = packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports
	list, err := packages.Load(&packages.Config{Mode: mode, Dir: dir}, ".")
	if err != nil || packages.PrintErrors(list) > 0 {
		t.Fatal(err)
	}
	want := shape{name: "m", lines: 18, files: 4, tests: 1, exported: 3, knot: 3, knotLines: 15, mutual: 1, methods: 2, of: "A"}
	if diff := cmp.Diff(want, *shapeOf(list[0]), cmp.AllowUnexported(shape{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
