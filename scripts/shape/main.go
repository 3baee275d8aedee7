// SPDX-License-Identifier: Apache-2.0

// Shape prints how each package of the module is put together: how large it is,
// how many of its files need one another in a circle (a knot), how many pairs of
// files name each other's definitions, and the type with the most methods. With
// -check it prints what is over a limit, and fails if something is. With -why it
// prints which names tie each file of a knot to the others.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/tools/go/packages"
)

const mode = packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports

func main() {
	check := flag.Bool("check", false, "print what is over a limit only, and fail if something is")
	why := flag.Bool("why", false, "print which names tie the files of a knot")
	flag.Parse()
	patterns := flag.Args()
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	list, err := packages.Load(&packages.Config{Mode: mode}, patterns...)
	if err == nil && packages.PrintErrors(list) > 0 {
		err = fmt.Errorf("the packages do not compile")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shape:", err)
		os.Exit(1)
	}
	list = slices.DeleteFunc(list, func(p *packages.Package) bool { return p.Name == "" || len(p.GoFiles) == 0 })
	switch {
	case *check:
		err = checkAll(list)
	case *why:
		for _, p := range list {
			printTies(os.Stdout, p)
		}
	default:
		err = printAll(list)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shape:", err)
		os.Exit(1)
	}
}

func printAll(list []*packages.Package) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "PACKAGE\tLINES\tFILES\tTEST:SOURCE\tEXPORTED\tKNOT\tKNOT LINES\tMUTUAL\tMETHODS\tOF")
	for _, p := range list {
		shapeOf(p).print(w)
	}
	return w.Flush()
}

func checkAll(list []*packages.Package) error {
	over := 0
	for _, p := range list {
		s := shapeOf(p)
		for _, text := range s.over(most) {
			over++
			fmt.Printf("%s: %s\n", s.name, text)
		}
	}
	if over > 0 {
		return fmt.Errorf("%d over a limit; go run ./scripts/shape -why PACKAGE names what ties a knot", over)
	}
	return nil
}

// limits are what a package may have at most.
type limits struct {
	knot    int // files of the largest one
	mutual  int // pairs of files
	methods int // of a type
}

// most is what one can still draw from memory.
var most = limits{knot: 12, mutual: 15, methods: 40}

// over returns what is over a limit.
func (s *shape) over(l limits) (list []string) {
	for _, x := range []struct {
		what     string
		is, most int
	}{
		{"files of a knot", s.knot, l.knot},
		{"pairs of files that need each other", s.mutual, l.mutual},
		{"methods of " + s.of, s.methods, l.methods},
	} {
		if x.is > x.most {
			list = append(list, fmt.Sprintf("%d %s, want %d at most", x.is, x.what, x.most))
		}
	}
	return list
}

// shape are the figures of a package.
type shape struct {
	name      string
	lines     int
	files     int
	tests     int // lines
	exported  int
	knot      int // files of the largest one
	knotLines int
	mutual    int // pairs of files
	methods   int // of the type that has most
	of        string
}

func (s *shape) print(w *tabwriter.Writer) {
	share := 0
	if s.lines > 0 {
		share = 100 * s.knotLines / s.lines
	}
	fmt.Fprintf(w, "%s\t%d\t%d\t%.2f\t%d\t%d\t%d%%\t%d\t%d\t%s\n", s.name, s.lines, s.files,
		float64(s.tests)/float64(max(s.lines, 1)), s.exported, s.knot, share, s.mutual, s.methods, s.of)
}

func shapeOf(p *packages.Package) *shape {
	s := &shape{name: strings.TrimPrefix(p.PkgPath, "github.com/pasvport/pasvport/"), files: len(p.GoFiles)}
	lines := map[string]int{}
	for _, f := range p.GoFiles {
		lines[f] = countLines(f)
		s.lines += lines[f]
	}
	tests, _ := filepath.Glob(filepath.Join(filepath.Dir(p.GoFiles[0]), "*_test.go"))
	for _, f := range tests {
		s.tests += countLines(f)
	}
	for _, name := range p.Types.Scope().Names() {
		obj := p.Types.Scope().Lookup(name)
		if obj.Exported() {
			s.exported++
		}
		if n, ok := types.Unalias(obj.Type()).(*types.Named); ok && n.Obj() == obj && n.NumMethods() > s.methods {
			s.methods, s.of = n.NumMethods(), name
		}
	}
	needs := needsOf(p)
	for a := range needs {
		for b := range needs[a] {
			if a < b && needs[b][a] {
				s.mutual++
			}
		}
	}
	for _, knot := range knots(needs) {
		if len(knot) > s.knot && len(knot) > 1 {
			s.knot, s.knotLines = len(knot), 0
			for _, f := range knot {
				s.knotLines += lines[f]
			}
		}
	}
	return s
}

func countLines(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return strings.Count(string(b), "\n")
}

// needsOf returns for each file of a package the files whose definitions it names.
func needsOf(p *packages.Package) map[string]map[string]bool {
	needs := map[string]map[string]bool{}
	for from, to := range namesOf(p) {
		needs[from] = map[string]bool{}
		for file := range to {
			needs[from][file] = true
		}
	}
	return needs
}

// namesOf returns for each file of a package the names that it uses, by the file
// that defines them.
func namesOf(p *packages.Package) map[string]map[string][]string {
	names := map[string]map[string][]string{}
	for _, f := range p.Syntax {
		from := p.Fset.Position(f.Pos()).Filename
		names[from] = map[string][]string{}
		ast.Inspect(f, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			obj := p.TypesInfo.Uses[id]
			if obj == nil || obj.Pkg() != p.Types || !obj.Pos().IsValid() {
				return true
			}
			if to := p.Fset.Position(obj.Pos()).Filename; to != from && !slices.Contains(names[from][to], id.Name) {
				names[from][to] = append(names[from][to], id.Name)
			}
			return true
		})
	}
	return names
}

// printTies prints which names tie the files of each knot of a package.
func printTies(w io.Writer, p *packages.Package) {
	names := namesOf(p)
	for _, knot := range knots(needsOf(p)) {
		if len(knot) < 2 {
			continue
		}
		slices.Sort(knot)
		fmt.Fprintf(w, "%s: %d files\n", p.PkgPath, len(knot))
		for _, from := range knot {
			for _, to := range knot {
				if list := names[from][to]; len(list) > 0 {
					slices.Sort(list)
					fmt.Fprintf(w, "  %s needs %s: %s\n", filepath.Base(from), filepath.Base(to), strings.Join(list, " "))
				}
			}
		}
	}
}

// knots returns the strongly connected sets of files (Tarjan's algorithm).
func knots(needs map[string]map[string]bool) (sets [][]string) {
	index, low, on := map[string]int{}, map[string]int{}, map[string]bool{}
	var stack []string
	var visit func(string)
	visit = func(f string) {
		index[f] = len(index) + 1
		low[f] = index[f]
		stack = append(stack, f)
		on[f] = true
		for to := range needs[f] {
			if index[to] == 0 {
				visit(to)
				low[f] = min(low[f], low[to])
			} else if on[to] {
				low[f] = min(low[f], index[to])
			}
		}
		if low[f] != index[f] {
			return
		}
		i := slices.Index(stack, f)
		for _, member := range stack[i:] {
			on[member] = false
		}
		sets = append(sets, slices.Clone(stack[i:]))
		stack = stack[:i]
	}
	for f := range needs {
		if index[f] == 0 {
			visit(f)
		}
	}
	slices.SortFunc(sets, func(a, b []string) int { return cmp.Compare(len(b), len(a)) })
	return sets
}
