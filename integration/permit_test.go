// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const permitFile = `commands: {deny: [SITE CHMOD]}
files: {deny: ["*.exe"], direction: [upload, rename], fold-case: on}
modes: passive
anonymous: never
max-path: 40
data-ports: passive=20000-65535
log-level: debug
policies:
  - client: 192.0.2.255
    modes: active
`

// TestPermitted: commands that the administrator does not permit fail, whole or
// in pieces, and the session continues; others and their data connections work as
// before.
func TestPermitted(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "p.yaml")
			if err := os.WriteFile(file, []byte(permitFile), 0o600); err != nil {
				t.Fatal(err)
			}
			site := NewSite(t, position("masquerade"), AllowRelated, s, "--config", file)
			d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			for _, tt := range []struct{ line, reason string }{
				{"SITE CHMOD 777 x", "command-denied"}, {"SITE HELP", ""},
				{"STOR up/virus.EXE", "file-denied"}, {"RETR virus.exe", ""}, {"RNTO a.exe", "file-denied"},
				{"PORT 127,0,0,1,200,10", "mode-denied"}, {"USER ftp", "anonymous-denied"},
				{"CWD " + strings.Repeat("x", 41), "length-denied"}, {"CWD " + strings.Repeat("x", 40), ""},
			} {
				before := site.decisions(t)[tt.reason]
				want := tt.line
				if verb, rest, _ := strings.Cut(tt.line, " "); tt.reason != "" {
					want = strings.Repeat("X", len(verb)) + " " + rest
				}
				if got := d.Command(tt.line); got != want {
					t.Errorf("the server received %q, want %q", got, want)
				}
				if got := d.Reply("500 what?"); got != "500 what?" {
					t.Errorf("the client received %q", got)
				}
				if n := site.decisions(t)[tt.reason]; tt.reason != "" && n != before+1 {
					t.Errorf("%q: %v times %s, want one more than %v", tt.line, n, tt.reason, before)
				}
			}
			// The end of a line comes much later than its start.
			if _, err := fmt.Fprint(d.Client, "STOR up/vir"); err != nil {
				t.Fatal(err)
			}
			if err := waitFor(startTimeout, "a line that is held", func() bool { return site.decisions(t)["partial-line"] > 0 }); err != nil {
				t.Fatal(err)
			}
			if got := d.Command("us.exe"); got != "XXXX up/virus.exe" {
				t.Errorf("in two pieces the server received %q", got)
			}
			d.Reply("500 what?")
			d.Announce(PASV).MustOpen(t)
			for _, rule := range []string{"rule=*.exe", `rule="SITE CHMOD"`} {
				if err := site.Daemons[0].WaitLog(lineTimeout, rule); err != nil {
					t.Errorf("the log does not say what denied them: %v", err)
				}
			}
		})
	}
}

// TestTLSRequired: a client without TLS is told why it cannot log in, in the
// error replies of real servers.
func TestTLSRequired(t *testing.T) {
	needPrograms(t, "curl")
	for _, kind := range ServerKinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("masquerade"), AllowRelated, Auto, "--tls", "require")
			server := site.ServerHost().StartServer(t, kind, netip.AddrPortFrom(site.ServerAddr(IPv4), 21))
			url := fmt.Sprintf("ftp://%s:%s@%s/", server.User, password, site.Dial(site.Client, IPv4, 0))
			start := time.Now()
			out, err := site.Client.Run(2*startTimeout, Cmd("curl", "-v", "-sS", url))
			if err == nil || time.Since(start) > startTimeout || !strings.Contains(out, "TLS is required") {
				t.Errorf("curl after %v: %v\n%s", time.Since(start), err, out)
			}
		})
	}
}
