// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxLimit is the highest value of a limit: more control connections than a
// conntrack's table has entries for.
const maxLimit = 1 << 20

// facts are what else there is to know of a setting. Each says restart or live.
type facts uint8

const (
	restart  facts = 1 << iota // another value takes effect when the daemon is started again
	live                       // a reload puts another value into effect
	inRules                    // our rules depend on it, whatever the kernel can do
	inPolicy                   // a policy may change it for some control connections
)

// setting is one flag and one key of the file.
type setting struct {
	name  string   // of the flag and of the key
	value string   // what stands for the value in the help text
	usage string   // help text
	want  string   // what is allowed, the end of an error line
	words []string // the values that it can have, or, with a '=' at the end, what they begin with
	facts facts

	// fields are pointers to the fields of a Config that are the setting's:
	// what a reload copies, and what two configurations differ in. Each field
	// is that of one setting.
	fields func(*Config) []any

	// many settings may be given more than once, and as a list in the file;
	// of the others the last one counts.
	many bool

	// some settings want one value at least.
	some bool

	// toggle settings need no value on the command line.
	toggle bool

	// reset, where there is one, takes the default away before the first value.
	reset func(*Config)

	// add takes one value as it was written. A *wantError says what is allowed
	// when the text of want is too general; any other error is not printed.
	add func(*Config, string) error

	// text is the value of a Config as it would be written.
	text func(Config) []string

	// A key that is mappings is not a flag: it has parse and, in the file's root,
	// addMapping in place of add and text. root are the keys of the root.
	parse      func(name string, n *yaml.Node, root keys) ([]mapping, error)
	addMapping func(c *Config, m mapping, root keys) error
}

// keys are the settings that a mapping may have.
type keys []setting

// lookup returns the setting of that name.
func (k keys) lookup(name string) (*setting, bool) {
	i := slices.IndexFunc(k, func(s setting) bool { return s.name == name })
	if i < 0 {
		return nil, false
	}
	return &k[i], true
}

// with returns those that have a fact.
func (k keys) with(f facts) keys {
	return slices.DeleteFunc(slices.Clone(k), func(s setting) bool { return !s.is(f) })
}

// names are their names in their order.
func (k keys) names() []string {
	names := make([]string, len(k))
	for i := range k {
		names[i] = k[i].name
	}
	return names
}

// flag reports whether the setting is one of the command line too.
func (s *setting) flag() bool { return s.add != nil }

// is reports whether the setting has this fact.
func (s *setting) is(f facts) bool { return s.facts&f != 0 }

// wantError says what is allowed in place of one particular value.
type wantError struct{ want string }

func (e *wantError) Error() string { return "want " + e.want }

// errValue is a value that the general text of its setting explains.
var errValue = errors.New("not allowed")

// orList is "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// transfer copies the values of the settings.
func (k keys) transfer(to, from *Config) {
	for i := range k {
		source := k[i].fields(from)
		for j, target := range k[i].fields(to) {
			reflect.ValueOf(target).Elem().Set(reflect.ValueOf(source[j]).Elem())
		}
	}
}
