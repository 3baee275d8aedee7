// SPDX-License-Identifier: Apache-2.0

package bugreport

import (
	"strings"
	"testing"
)

// TestPasswords: no part of a password remains in a configuration file, however
// it is written; everything else does.
func TestPasswords(t *testing.T) {
	const before, after = "virtual-servers:\n- name: ftp\n  check:\n    user: probe\n", "    interval: 5s\n  port: 2121\n"
	for name, value := range map[string]string{
		"plain":                  "    password: s3cret\n",
		"plain, two words":       "    password: s3cret s3cret\n",
		"plain, with #":          "    password: s3#cret\n",
		"plain, with , and }":    "    password: s3,cr}et\n",
		"plain, and a comment":   "    password: s3cret # it stays\n",
		"plain, of two lines":    "    password: s3cret\n      s3cret\n",
		"double quotes":          "    password: \"s3\\\"cret, s3cret\"\n",
		"single quotes":          "    password: 's3''cret'\n",
		"quotes, two lines":      "    password: \"s3cret\n      s3cret\"\n",
		"literal":                "    password: |-\n      s3cret\n\n      s3cret\n",
		"folded":                 "    password: >\n      s3cret\n",
		"in the next line":       "    password:\n      s3cret\n",
		"quoted key":             "    \"password\" : s3cret\n",
		"a number":               "    password: 33333\n",
		"with a tag":             "    password: !!str s3cret\n",
		"with an anchor":         "    password: &p s3cret\n",
		"a list, not a password": "    password: [s3cret, s3cret]\n",
		"in a comment":           "    #  password: s3cret s3,cret\n",
		"twice":                  "    # password: s3cret # not used\n    password: s3cret\n",
	} {
		for _, broken := range []string{"", "nonsense: [\n"} {
			if broken != "" && name == "in the next line" {
				value = "    password:\n        s3cret\n"
			}
			got := string(withoutPasswords([]byte(before + value + after + broken)))
			for _, bad := range []string{"s3", "cret", "cr}et", "33333"} {
				if strings.Contains(got, bad) {
					t.Errorf("%s, broken: %t: left in it:\n%s", name, broken != "", got)
				}
			}
			for _, want := range []string{"name: ftp", "user: probe", "interval: 5s", "port: 2121", removed} {
				if !strings.Contains(got, want) {
					t.Errorf("%s, broken: %t: no %q in\n%s", name, broken != "", want, got)
				}
			}
		}
	}
}

// TestPasswordAlias: the target of an alias in place of a password is one, too.
func TestPasswordAlias(t *testing.T) {
	got := string(withoutPasswords([]byte("a: &p s3cret\nb: {user: x, password: *p, interval: 5s}\n")))
	if strings.Contains(got, "s3cret") || !strings.Contains(got, "interval: 5s") {
		t.Errorf("%s", got)
	}
}

// TestNoPassword: a file without one stays as it is, with its comments.
func TestNoPassword(t *testing.T) {
	const text = "# ours\nport:   [21,\n  2121]   # both\n"
	if got := string(withoutPasswords([]byte(text))); got != text {
		t.Errorf("%q became %q", text, got)
	}
}
