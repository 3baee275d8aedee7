// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

// TestPaired: a pair needs three settings, with numeric addresses and a path.
func TestPaired(t *testing.T) {
	const all = "peer: '10.9.0.2:2121'\npeer-listen: '10.9.0.1:2121'\npeer-key: /etc/key\n"
	for name, tt := range map[string]struct {
		text   string
		paired bool
		fault  string
	}{
		"none":        {"# none\n", false, ""},
		"all":         {all, true, ""},
		"IPv6":        {"peer: '[fd99::2]:2121'\npeer-listen: '[fd99::1]:2121'\npeer-key: /etc/key\n", true, ""},
		"of a link":   {"peer: '[fe80::2%eth1]:2121'\npeer-listen: '[fe80::1%eth1]:2121'\npeer-key: /etc/key\n", true, ""},
		"two":         {"peer: '10.9.0.2:2121'\npeer-key: /etc/key\n", false, "want all three, or none"},
		"one machine": {strings.ReplaceAll(all, "10.9.0.2", "10.9.0.1"), false, "are the same"},
	} {
		c, msg := load(t, tt.text)
		if msg != "" {
			t.Errorf("%s: %s", name, msg)
			continue
		}
		paired, err := c.Paired()
		if paired != tt.paired || (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: %t, %v", name, paired, err)
		}
		if n := len(c.Doubts()); (n > 0) != (tt.fault != "") {
			t.Errorf("%s: %d doubts", name, n)
		}
	}
	for _, text := range []string{"peer: fw2:2121\n", "peer: '[fe80::2]:2121'\n", "peer-listen: ':2121'\n", "peer: '10.9.0.2:0'\n", "peer-key: key\n", "peer-wait: sometimes\n"} {
		if _, msg := load(t, text); msg == "" {
			t.Errorf("%q is accepted", text)
		}
	}
}
