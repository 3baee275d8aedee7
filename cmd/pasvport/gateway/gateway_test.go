// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestNoPartKnowsGateway: Gateway makes the other parts; only it and New name it.
func TestNoPartKnowsGateway(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	set, own := token.NewFileSet(), 0
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if isGateways(d) {
				own++
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && id.Name == "Gateway" {
					t.Errorf("%v names Gateway", set.Position(id.Pos()))
				}
				return true
			})
		}
	}
	if own < 3 {
		t.Errorf("%d declarations of Gateway's own", own)
	}
}

// isGateways reports whether a declaration is Gateway's type, New, or a method of it.
func isGateways(d ast.Decl) bool {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			return d.Name.Name == "New"
		}
		p, _ := d.Recv.List[0].Type.(*ast.StarExpr)
		if p == nil {
			return false
		}
		id, _ := p.X.(*ast.Ident)
		return id != nil && id.Name == "Gateway"
	case *ast.GenDecl:
		s, _ := d.Specs[0].(*ast.TypeSpec)
		return s != nil && s.Name.Name == "Gateway"
	}
	return false
}
