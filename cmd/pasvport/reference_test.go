// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

//go:generate go test . -run TestReference -update

var update = flag.Bool("update", false, "write docs/reference.md")

// scraped is a scrape of a daemon that has every metric once.
func scraped(t *testing.T) string {
	t.Helper()
	m := metrics.New(report.Reasons())
	m.Build("v", "c", "g")
	m.AddExpectations(func() (int, int) { return 0, 0 })
	m.CountUnread(func() uint64 { return 0 })
	m.AddHeld(func() int { return 0 })
	m.AddPeer(func() *control.Peer { return &control.Peer{} })
	m.AddQueue(1, func() metrics.Queue { return metrics.Queue{} })
	m.AddServers(func() []control.Server { return []control.Server{{Virtual: "v"}} })
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	helpLine = regexp.MustCompile(`(?m)^# HELP (pasvport_\w+) (.*)\n# TYPE \w+ (\w+)$`)
	sample   = regexp.MustCompile(`(?m)^(pasvport_\w+)(?:\{(.*)\})? `)
	label    = regexp.MustCompile(`(\w+)="`)
)

// metricRows is a table of every metric.
func metricRows(t *testing.T) (b strings.Builder) {
	text := scraped(t)
	labels := map[string][]string{}
	for _, m := range sample.FindAllStringSubmatch(text, -1) {
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if name := strings.TrimSuffix(m[1], "_bucket"); !slices.Contains(labels[name], l[1]) {
				labels[name] = append(labels[name], l[1])
			}
		}
	}
	b.WriteString("| Metric | Type | Labels | Means |\n|---|---|---|---|\n")
	for _, m := range helpLine.FindAllStringSubmatch(text, -1) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m[1], m[3], strings.Join(labels[m[1]], ", "), m[2])
	}
	return b
}

// fieldRows is a table of a struct's JSON fields, with those of the structs in
// it, and their comments in the source.
func fieldRows(b *strings.Builder, prefix string, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind := f.Type
		list := ""
		for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct && kind.Elem().PkgPath() == t.PkgPath() {
			if kind.Kind() == reflect.Slice {
				list = "[]"
			}
			kind = kind.Elem()
		}
		if kind.Kind() == reflect.Struct && kind.PkgPath() == t.PkgPath() {
			fieldRows(b, prefix+name+list+".", kind)
			continue
		}
		is := jsonKind(f.Type)
		if is == "text" {
			is = "" // as the page says
		}
		fmt.Fprintf(b, "| `%s%s` | %s |\n", prefix, name, is)
	}
}

func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String, reflect.Struct:
		return "text"
	case reflect.Slice:
		return "list of " + jsonKind(t.Elem())
	case reflect.Map:
		return "object: text to " + jsonKind(t.Elem())
	}
	if t.PkgPath() != "" {
		return "text"
	}
	return "number"
}

// reporting are the functions that log a message, by name, with the index of the
// message among the arguments.
var reporting = map[string][]int{
	"Debug": {0}, "Info": {0}, "Warn": {0}, "Error": {0}, "Report": {2}, "warn": {1}, "failed": {1}, "tell": {2}, "logPinhole": {0}, "warnPinhole": {0}, "always": {1},
}

// messages are the log messages in the source, with their keys.
func messages(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				note(found, call)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// note records the message of a call, if it has one.
func note(found map[string][]string, call *ast.CallExpr) {
	name := ""
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		name = f.Sel.Name
	case *ast.Ident:
		name = f.Name
	}
	for _, at := range reporting[name] {
		if at >= len(call.Args) {
			return
		}
		msg, ok := text(call.Args[at])
		if !ok {
			return
		}
		keys := found[msg]
		for i := at + 1; i < len(call.Args); i += 2 {
			if key, ok := text(call.Args[i]); ok && !slices.Contains(keys, key) && !strings.Contains(key, " ") {
				keys = append(keys, key)
			}
		}
		found[msg] = keys
	}
}

func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil && s != ""
}

// meanings are the comments on the reasons in a file, in the order of their
// numbers.
func meanings(t *testing.T, path string) (list []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		constants, ok := d.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST || len(constants.Specs) < 2 {
			continue
		}
		for _, spec := range constants.Specs {
			v := spec.(*ast.ValueSpec)
			said, ok := strings.CutPrefix(strings.Join(strings.Fields(v.Doc.Text()), " "), v.Names[0].Name+": ")
			if ok {
				list = append(list, said)
			}
		}
	}
	return list
}

// TestReference: docs/reference.md matches the program; "go generate" writes it.
func TestReference(t *testing.T) {
	const path = "../../docs/reference.md"
	var b strings.Builder
	b.WriteString("# Reference\n\nWritten by `go generate ./cmd/pasvport`; [observability.md](observability.md) says where they are seen.\n\n## Metrics\n\n")
	rows := metricRows(t)
	b.WriteString(rows.String())
	b.WriteString("\n## Reasons\n\nIn the log as `reason=`, in `pasvport_decisions_total` and in `status`.\n\n| Reason | Means | What to do |\n|---|---|---|\n")
	means := slices.Concat(meanings(t, "../../ftpalg/reason.go"), meanings(t, "report/reason.go"))
	if len(means) != len(report.Reasons()) {
		t.Fatalf("%d meanings of %d reasons", len(means), len(report.Reasons()))
	}
	for i, name := range report.Reasons() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, means[i], strings.ReplaceAll(report.Reason(i).Hint(), "|", "\\|"))
	}
	b.WriteString("\n## Messages of the log, and events\n\n`msg=` of a line, PASVPORT_EVENT in the journal, `event` of `pasvport events`. Lines about a\nsession also have `client`, `server`, `session` and, if monitored, `monitor`; events also `time`,\n`event` and `level`. Not every line has every key.\n\n| Message | Keys |\n|---|---|\n")
	all := messages(t)
	for _, msg := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", msg, strings.Join(all[msg], ", "))
	}
	for _, s := range []struct {
		title string
		of    any
	}{{"status --json", control.Status{}}, {"sessions --json, of each", control.Session{}}, {"servers --json, of each", control.Server{}}} {
		fmt.Fprintf(&b, "\n## %s\n\nFields are text unless said.\n\n| Field | Is |\n|---|---|\n", s.title)
		fieldRows(&b, "", reflect.TypeOf(s.of))
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(b.String(), string(have)); d != "" {
		t.Errorf("%s is not what the program has; run \"go generate ./cmd/pasvport\" (-want +got):\n%s", path, d)
	}
	for msg, keys := range all { // a duplicate key in an object would be lost
		for _, key := range []string{"time", "event", "level", "msg"} {
			if slices.Contains(keys, key) {
				t.Errorf("%q has the key %q, which every line has", msg, key)
			}
		}
	}
	for _, want := range []string{"offer refused", "pinhole opened", "pinhole would be opened", "stopping", "login", "transfer", "ready", "session is encrypted"} {
		if _, ok := all[want]; !ok {
			t.Errorf("the message %q is not found", want)
		}
	}
}

// TestDashboard: the queries of the dashboard name existing metrics and labels.
func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	exist := map[string]bool{}
	for _, m := range sample.FindAllStringSubmatch(scraped(t), -1) {
		exist[m[1]] = true
	}
	queries := 0
	for _, p := range board.Panels {
		for _, q := range p.Targets {
			queries++
			names := regexp.MustCompile(`\bpasvport_\w+`).FindAllString(q.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: no metric in %s", p.Title, q.Expr)
			}
			for _, name := range names {
				if !exist[name] {
					t.Errorf("%s: there is no metric %s", p.Title, name)
				}
			}
		}
	}
	if queries == 0 {
		t.Error("no query")
	}
}
