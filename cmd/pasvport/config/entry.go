// SPDX-License-Identifier: Apache-2.0

package config

import "fmt"

// entry is one setting as it was given, by flag or by key.
type entry struct {
	setting *setting
	at      value // the key, without a text; of a key of the file
	values  []value
	maps    []mapping // of settings that are mappings, and then no values
}

// mapping is one mapping of the file and where it stands.
type mapping struct {
	at      value // without a text
	entries []entry
}

// value is one text and where it stands; file is empty for a flag.
type value struct {
	text         string
	file         string
	line, column int
}

// explain says which flag or key has which value, and what is wanted.
func (v value) explain(s *setting, want string) error {
	if v.file == "" {
		return fmt.Errorf("--%s %q: want %s", s.name, v.text, want)
	}
	return fmt.Errorf("%s: %s %q: want %s", v.place(), s.name, v.text, want)
}

// wrong puts a place before an error.
func (v value) wrong(err error) error {
	return fmt.Errorf("%s: %w", v.place(), err)
}

// each gives the values of a mapping to set, and the mappings in it to add.
func (m mapping) each(set func(string, string) error, add func(string, mapping) error) error {
	for _, e := range m.entries {
		for _, v := range e.values {
			if err := set(e.setting.name, v.text); err != nil {
				return v.explain(e.setting, e.setting.want)
			}
		}
		for _, inner := range e.maps {
			if err := add(e.setting.name, inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// place is where a value stands.
func (v value) place() string { return fmt.Sprintf("%s:%d:%d", v.file, v.line, v.column) }
