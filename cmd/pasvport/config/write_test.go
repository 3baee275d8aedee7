// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// TestWrite: the written file parses to the same configuration, and contains no
// more than needed.
func TestWrite(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"default", nil, "port: [21]\n"},
		{"ports", []string{"--port=21,2121,8021-8025"}, "port: [21, 2121, 8021-8025]\n"},
		{"mark", []string{"--allow=mark", "--strict-active-port", "--pinhole-timeout=90s"}, ""},
		{"chains", []string{"--allow=chain=inet/filter/forward,ip/f/o"}, ""},
		{"advertise", []string{"--advertise=10.0.0.5=203.0.113.5", "--advertise=fd00::5=2001:db8::5", "--metrics=[::1]:9121"}, ""},
		{"tls", []string{"--tls=range=50000-50100", "--control-socket=", "--deny-command=SITE", "--ct-mark=0x3"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := pflag.NewFlagSet("test", pflag.ContinueOnError)
			empty := filepath.Join(t.TempDir(), "empty.yaml")
			if err := os.WriteFile(empty, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			flags := Bind(set)
			if err := set.Parse(append(tt.args, "--config="+empty)); err != nil {
				t.Fatal(err)
			}
			c, err := flags.Load()
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := Write(&b, c); err != nil {
				t.Fatal(err)
			}
			if tt.want != "" && b.String() != tt.want {
				t.Errorf("wrote\n%swant\n%s", &b, tt.want)
			}
			file := filepath.Join(t.TempDir(), "written.yaml")
			if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := LoadFile(file)
			if err != nil {
				t.Fatalf("%v:\n%s", err, &b)
			}
			if diff := cmp.Diff(Changed(Default(), c), Changed(Default(), got)); diff != "" {
				t.Errorf("settings (-want +got):\n%s\n%s", diff, &b)
			}
			if changed := Changed(c, got); len(changed) > 0 {
				t.Errorf("%v changed on the way:\n%s", changed, &b)
			}
		})
	}
}

// TestGiven: what is not the default, flags and mappings.
func TestGiven(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pasvport.yaml")
	text := "port: [21, 8021-8025]\nmap-data-ports: 50000-50099\npolicies:\n  - client: 192.0.2.0/24\n    repair: none\n  - client: 198.51.100.0/24\n    repair: none\n" +
		"commands:\n  allow: [RETR, NOOP]\n  deny: [SITE CHMOD]\nfiles:\n  - {deny: \"*.exe\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"port": {"21", "8021-8025"}, "map-data-ports": {"50000-50099"}, "policies": {"2"}, "commands": {"3"}, "files": {"1"}}
	if diff := cmp.Diff(want, Given(c)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got := Given(Default()); len(got) != 0 {
		t.Errorf("of the default: %v", got)
	}
}
