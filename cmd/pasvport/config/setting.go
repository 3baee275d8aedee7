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
// conntrack table has room for.
const maxLimit = 1 << 20

// facts are further properties of a setting. Each setting is restart or live.
type facts uint8

const (
	restart  facts = 1 << iota // a new value takes effect at the next start
	live                       // a reload applies a new value
	inRules                    // our rules depend on it, whatever the kernel supports
	inPolicy                   // a policy may change it for some control connections
)

// setting is one flag and one key of the file.
type setting struct {
	name  string   // of the flag and of the key
	value string   // placeholder for the value in the help text
	usage string   // help text
	want  string   // what is allowed, the end of an error line
	words []string // its possible values, or, with a '=' at the end, their beginnings
	facts facts

	// fields are pointers to the setting's fields of a Config: what a reload
	// copies, and what differs between configurations. Each field belongs to one
	// setting.
	fields func(*Config) []any

	// many settings may be given more than once, and as a list in the file; the
	// last value of the others wins.
	many bool

	// some settings need at least one value.
	some bool

	// secret settings have values that errors do not show.
	secret bool

	// toggle settings need no value on the command line.
	toggle bool

	// reset, unless nil, removes the default before the first value.
	reset func(*Config)

	// add parses and adds one value. A *wantError says what is allowed if the
	// text of want is too general; any other error is not printed.
	add func(*Config, string) error

	// text formats the value of a Config.
	text func(Config) []string

	// A key that is mappings is not a flag: it has parse and, in the file's root,
	// addMapping instead of add and text. root are the keys of the root.
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

// with returns the settings that have a fact.
func (k keys) with(f facts) keys {
	return slices.DeleteFunc(slices.Clone(k), func(s setting) bool { return !s.is(f) })
}

// names are their names, in order.
func (k keys) names() []string {
	names := make([]string, len(k))
	for i := range k {
		names[i] = k[i].name
	}
	return names
}

// flag reports whether the setting is a flag, too.
func (s *setting) flag() bool { return s.add != nil }

// is reports whether the setting has this fact.
func (s *setting) is(f facts) bool { return s.facts&f != 0 }

// wantError says what is allowed instead of a particular value.
type wantError struct{ want string }

func (e *wantError) Error() string { return "want " + e.want }

// errValue is for a value that the general text of its setting explains.
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
