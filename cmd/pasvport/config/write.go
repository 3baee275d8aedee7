// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
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
		texts := s.text(c)
		if s.name == "port" {
			texts = c.PortList()
		}
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
