// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

func TestNearest(t *testing.T) {
	names := settings.names()
	for typed, want := range map[string]string{
		"prot": "port", "ports": "port", "Port": "port", "advertize": "advertise", "pinhole-timout": "pinhole-timeout",
		"max-session": "max-sessions", "log_level": "log-level", "virtual": "virtual-servers", "tsl": "tls",
		"x": "", "": "", "walk": "", "something-else": "", "a-name-that-is-longer-than-any-other": "",
	} {
		if got := Nearest(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
