// SPDX-License-Identifier: Apache-2.0

package config

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

//go:generate go test . -run TestOperations -update

var update = flag.Bool("update", false, "write the lists in docs/operations.md")

// TestFacts: each setting says whether a reload changes it, and its other facts
// are true.
func TestFacts(t *testing.T) {
	for i := range settings {
		s := &settings[i]
		t.Run(s.name, func(t *testing.T) {
			if s.is(restart) == s.is(live) {
				t.Errorf("facts %b: want either restart or live", s.facts)
			}
			if s.is(inPolicy) && !s.is(live) {
				t.Errorf("facts %b: a policy is live", s.facts)
			}
			def := Default()
			var ruled, told bool
			for _, other := range examples(t, s) {
				if got := Changed(def, other); !slices.Equal(got, []string{s.name}) {
					t.Fatalf("changed %q, want %q alone", got, s.name)
				}
				if got := reflect.DeepEqual(Reloaded(def, other), other); got != s.is(live) {
					t.Errorf("a reload changes it: %t, want %t", got, s.is(live))
				}
				r := other.Rules()
				if d := cmp.Diff(r, other.ReloadRules(def.Rules()), compared); s.is(live) && d != "" {
					t.Errorf("rules after a reload (-want +got):\n%s", d)
				}
				ruled = ruled || cmp.Diff(r, def.Rules(), compared) != "" ||
					cmp.Diff(withMark(other).Rules(), withMark(def).Rules(), compared) != ""
				told = told || cmp.Diff(other.Policy(), def.Policy(), compared) != ""
			}
			if s.name == virtualServersKey {
				return // package balance makes rules of them, and the engine is told of their servers
			}
			if ruled != s.is(inRules) {
				t.Errorf("our rules depend on it: %t, want %t", ruled, s.is(inRules))
			}
			// A policy may change what the engine gets, and the mark, and nothing
			// else.
			if s.name != "mark" && told != s.is(inPolicy) {
				t.Errorf("the engine is told of it: %t, allowed in a policy: %t", told, s.is(inPolicy))
			}
		})
	}
}

// withMark is c with the way of --allow that --ct-mark needs.
func withMark(c Config) Config {
	c.Allow = AllowMark
	return c
}

var compared = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// TestChangedPolicies: unchanged policies do not count as changed because a
// setting has changed that they cannot change.
func TestChangedPolicies(t *testing.T) {
	const file = "policies: [{port: 2121, checks: strict}]\n"
	a, _ := load(t, file)
	b, msg := load(t, file+"table: other\n")
	if msg != "" {
		t.Fatal(msg)
	}
	if got := Changed(a, b); !slices.Equal(got, []string{"table"}) {
		t.Errorf("changed %q, want the table alone", got)
	}
}

// TestFields: each field of a Config belongs to one setting, so that a reload
// cannot forget one.
func TestFields(t *testing.T) {
	var c Config
	owner := map[any]string{}
	for i := range settings {
		for _, f := range settings[i].fields(&c) {
			if other, ok := owner[f]; ok {
				t.Errorf("a field of %s also belongs to %s", settings[i].name, other)
			}
			owner[f] = settings[i].name
		}
	}
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		if _, ok := owner[v.Field(i).Addr().Interface()]; !ok {
			t.Errorf("Config.%s belongs to no setting", v.Type().Field(i).Name)
		}
	}
}

// examples returns the defaults with other values of a setting.
func examples(t *testing.T, s *setting) []Config {
	t.Helper()
	some := map[string][]string{
		"control-socket": {"/tmp/x"}, "pinhole-timeout": {"5s"}, "table": {"other"}, "ct-mark": {"0x3"},
		"tls": {"deny", "require", "range=50000-50100"}, "allow": {"mark", "chain=inet/filter/forward"}, "checks": {"strict"},
	}[s.name]
	if len(some) == 0 && len(s.words) > 0 {
		some = slices.DeleteFunc(slices.Clone(s.words), func(w string) bool { return w == s.text(Default())[0] })
	}
	if strings.HasPrefix(s.want, "a number") {
		some = []string{"7"}
	}
	var lines []string
	for _, v := range some {
		lines = append(lines, s.name+": '"+v+"'")
	}
	if len(lines) == 0 {
		lines = []string{documented(t, s.name)}
	}
	var list []Config
	for _, l := range lines {
		c, msg := load(t, l+"\n")
		if msg != "" {
			t.Fatalf("%s: %s", l, msg)
		}
		list = append(list, c)
	}
	return list
}

// documented returns the second example of docs/pasvport.yaml for a key; the
// first is its default.
func documented(t *testing.T, key string) string {
	t.Helper()
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^#(`+key+`: .*)$`).FindAllStringSubmatch(string(text), -1)
	if len(lines) < 2 {
		t.Fatalf("%s has no second example of %s", reference, key)
	}
	return lines[1][1]
}

// TestOperations compares the lists in docs/operations.md with the settings;
// "go generate" writes them.
func TestOperations(t *testing.T) {
	const path = "../../../docs/operations.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for name, f := range map[string]facts{"live": live, "restart": restart} {
		part := regexp.MustCompile(`(?s)(<!-- settings: ` + name + ` -->\n).*?(\n<!-- end -->)`)
		if !part.MatchString(got) {
			t.Fatalf("%s has no list %q", path, name)
		}
		got = part.ReplaceAllString(got, "${1}"+wrapped(settings.with(f).names())+"${2}")
	}
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(got, string(text)); d != "" && !*update {
		t.Errorf("%s is not what the settings are; run \"go generate ./cmd/pasvport/config\" (-want +got):\n%s", path, d)
	}
}

// wrapped formats a list of names as Markdown, in lines of at most 80 characters.
func wrapped(names []string) string {
	var b strings.Builder
	column := 0
	for i, n := range names {
		item := fmt.Sprintf("`%s`", n)
		if i < len(names)-1 {
			item += ","
		}
		switch {
		case column == 0:
		case column+1+len(item) > 80:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(item)
		column += len(item)
	}
	return b.String()
}

// TestReferencePolicies: docs/pasvport.yaml names the settings that a policy may
// change.
func TestReferencePolicies(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	names := settings.with(inPolicy).names()
	last := len(names) - 1
	want := "A policy may change: " + strings.Join(names[:last], ", ") + " and " + names[last]
	prose := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "\n#", " ")), " ")
	if !strings.Contains(prose, want) {
		t.Errorf("%s does not say %q", reference, want)
	}
}
