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
		s := &settings[i]
		if !slices.Equal(s.text(a), s.text(b)) {
			names = append(names, s.name)
		}
	}
	if !reflect.DeepEqual(a.Policies, b.Policies) {
		names = append(names, policiesKey)
	}
	if !reflect.DeepEqual(a.VirtualServers, b.VirtualServers) {
		names = append(names, virtualServersKey)
	}
	return names
}
