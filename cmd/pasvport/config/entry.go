// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
)

// entry is one setting as given by a flag or a key.
type entry struct {
	setting *setting
	at      value // the key, without a text; for keys of the file
	values  []value
	maps    []mapping // for settings that are mappings, which have no values
}

// mapping is one mapping of the file and its place.
type mapping struct {
	at      value // without a text
	entries []entry
}

// value is one text and its place; file is empty for a flag.
type value struct {
	text         string
	file         string
	line, column int
}

// explain says which flag or key has which value, and what is allowed.
func (v value) explain(s *setting, want string) error {
	if s.secret {
		return fmt.Errorf("%s: %s: want %s", v.place(), s.name, want)
	}
	if v.file == "" {
		return fmt.Errorf("--%s %q: want %s", s.name, v.text, want)
	}
	return fmt.Errorf("%s: %s %q: want %s", v.place(), s.name, v.text, want)
}

// wrong puts a place before an error.
func (v value) wrong(err error) error {
	return fmt.Errorf("%s: %w", v.place(), err)
}

// each passes the values of a mapping to set, and the mappings in it to add.
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

// place is the place of a value.
func (v value) place() string { return fmt.Sprintf("%s:%d:%d", v.file, v.line, v.column) }

// misfit is an error about settings that contradict each other.
type misfit struct {
	error
	// key is the setting that the error names. If a mapping has none with that
	// name the whole mapping is meant.
	key string
	// list is the setting whose mappings contain it, and index the number of the
	// mapping; empty: it is outside of mappings.
	list  string
	index int
}

func unfit(key, format string, args ...any) *misfit {
	return &misfit{error: fmt.Errorf(format, args...), key: key}
}

// in sets the mapping of a list that contains the setting.
func (m *misfit) in(list string, index int) *misfit {
	m.list, m.index = list, index
	return m
}

// placed prefixes the error with the place of its setting, if that is in a file.
func (m misfit) placed(entries []entry) error {
	var at value
	if m.list != "" {
		maps := last(entries, m.list).maps
		if m.index >= len(maps) {
			return m.error
		}
		at, entries = maps[m.index].at, maps[m.index].entries
	}
	if e := last(entries, m.key); e.setting != nil {
		at = e.at
	}
	if at.file == "" {
		return m.error
	}
	return at.wrong(m.error)
}

// last returns the last entry with a name, or one without a setting.
func last(entries []entry, name string) entry {
	for _, e := range slices.Backward(entries) {
		if e.setting.name == name {
			return e
		}
	}
	return entry{}
}
