// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"slices"
)

// Changed names the settings in which two configurations differ, in the order
// of the help text.
func Changed(a, b Config) []string {
	var names []string
	for i := range settings {
		if s := &settings[i]; !reflect.DeepEqual(s.fields(&a), s.fields(&b)) {
			names = append(names, s.name)
		}
	}
	return names
}

// Reloaded returns old with the settings of next that a reload applies; the
// others need a restart.
func Reloaded(old, next Config) Config {
	settings.with(live).transfer(&old, &next)
	return old
}

// InRules reports whether our rules depend on one of the named settings.
func InRules(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		s, ok := settings.lookup(name)
		return ok && s.is(inRules)
	})
}
