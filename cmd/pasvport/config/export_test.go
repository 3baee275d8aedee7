// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestExport: a configuration that went to another process as JSON is the same,
// except for its passwords.
func TestExport(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"defaults":  "# empty\n",
		"reference": string(text),
		"lists": "policies:\n  - server: 192.0.2.7\n    tls: deny\n    checks: strict\n  - client: 10.0.0.0/8\n    third-party: allow\n" +
			"virtual-servers:\n  - name: ftp\n    listen: 203.0.113.5\n    check:\n      user: probe\n      password: secret\n    servers:\n      - address: 10.0.0.1\n      - address: 10.0.0.2\n",
	} {
		in, msg := load(t, file, "--port=21,8021-8025", "--tls-port=990", "--advertise=10.0.0.5=203.0.113.5", "--allow=chain=inet/filter/forward,ip/x/y")
		if msg != "" {
			t.Fatalf("%s: %s", name, msg)
		}
		b, err := json.Marshal(in.Export())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "secret") {
			t.Errorf("%s: a password is in %s", name, b)
		}
		var e Exported
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		out, err := e.Config()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range in.VirtualServers {
			in.VirtualServers[i].Check.Password = ""
		}
		if !reflect.DeepEqual(in, out) {
			t.Errorf("%s: %+v came back as %+v", name, in, out)
		}
	}
}
