// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/pasvport/pasvport/ftpalg"
)

// presets are the names of sets of checks.
var presets = []string{"lenient", "normal", "strict"}

// checkWords are the presets and the names of the checks, which are bits.
func checkWords() []string {
	words := slices.Clone(presets)
	for k := ftpalg.Checks(1); k&ftpalg.Strict != 0; k <<= 1 {
		words = append(words, k.String())
	}
	return words
}

// addChecks parses a list of presets and checks. A preset replaces what came
// before it; a name adds a check, with a leading hyphen it removes one.
func addChecks(c *Config, v string) error {
	for item := range strings.SplitSeq(v, ",") {
		name, without := strings.CutPrefix(strings.TrimSpace(item), "-")
		check, ok := ftpalg.ParseCheck(name)
		preset := slices.Contains(presets, name)
		switch {
		case !ok || preset && without:
			return errValue
		case preset:
			c.Checks = check
		case without:
			c.Checks &^= check
		default:
			c.Checks = c.Checks&^ftpalg.NoChecks | check
		}
	}
	if c.Checks == 0 {
		c.Checks = ftpalg.NoChecks
	}
	return nil
}

func addDenied(c *Config, v string) error {
	list, err := addCommand(c.DenyCommands, v, true)
	c.DenyCommands = list
	return err
}

func deniedText(c Config) []string {
	if len(c.DenyCommands) == 0 {
		return nil
	}
	return []string{joined(c.DenyCommands)}
}
