// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// bare matches texts that need no quotes in YAML, even within brackets.
var bare = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9./=_-]*$`)

// Write writes c as a file: the control ports, and what is not the default. A
// setting that is not a flag (virtual-servers, policies) is left out.
func Write(w io.Writer, c Config) error {
	changed := Changed(Default(), c)
	for i := range settings {
		s := &settings[i]
		if !s.flag() || s.name != "port" && !slices.Contains(changed, s.name) {
			continue
		}
		texts := s.texts(c)
		for i, t := range texts {
			if !bare.MatchString(t) {
				texts[i] = strconv.Quote(t)
			}
		}
		value := strings.Join(texts, ", ")
		if s.many && len(texts) != 1 || s.name == "port" {
			value = "[" + value + "]"
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", s.name, value); err != nil {
			return err
		}
	}
	return nil
}

// Given returns the values of the settings that are not the default, by name. Of
// policies, virtual servers, commands and files it says how many there are.
func Given(c Config) map[string][]string {
	given := map[string][]string{}
	for _, name := range Changed(Default(), c) {
		s, _ := settings.lookup(name)
		given[name] = s.texts(c)
	}
	return given
}

// texts formats the value of a Config for a file; what is no flag is counted.
func (s *setting) texts(c Config) []string {
	switch {
	case s.name == "port":
		return c.PortList()
	case s.name == "commands":
		return []string{strconv.Itoa(len(c.Commands.Allow) + len(c.Commands.Deny))}
	case s.flag():
		return s.text(c)
	}
	return []string{strconv.Itoa(reflect.ValueOf(s.fields(&c)[0]).Elem().Len())}
}
