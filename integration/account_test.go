// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// accountSize is of the files that are transferred and counted, in bytes.
const accountSize = 1_234_567

// TestAccount: what a real client does with a real server is in the log, in the
// xferlog, in the events and in the list of sessions, with every byte.
func TestAccount(t *testing.T) {
	needDaemon(t)
	for _, name := range []string{"routed", "both-nat"} {
		for _, s := range subjects(t) {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSiteOnly(t, position(name), AllowRelated, s)
				fw := site.Firewalls[0]
				if err := fw.Sysctl("net/netfilter/nf_conntrack_acct", "1"); err != nil {
					t.Fatal(err)
				}
				xferlog := filepath.Join(fw.Dir, "xferlog")
				d := site.StartDaemon(t, fw, "--log-sessions", "--log-transfers", "--xferlog", xferlog)
				server := site.StartServer(t, Vsftpd)
				for _, m := range []Mode{PASV, PORT} {
					from := site.ClientHost()
					Job{Client: Curl, From: from, Dial: site.Dial(from, IPv4, 0), Server: server, Mode: m, Size: accountSize}.Verify(t)
				}
				d.wantAccount(t, server.User)
				d.wantXferlog(t, xferlog)
			})
		}
	}
}

// wantAccount looks for the two downloads and two uploads in the log and in the
// events.
func (d *Daemon) wantAccount(t *testing.T, user string) {
	t.Helper()
	if err := waitFor(20*time.Second, "the end of four sessions in the log", func() bool {
		return strings.Count(d.Output(), `msg="session ended"`) == 4
	}); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		`msg="session began" session=\d+ client=\S+ server=\S+ `,
		`msg=login session=\d+ client=\S+ server=\S+ user=` + user,
		`msg=transfer .* verb=RETR path=\S+ .*direction=download type=binary bytes=12[34]\d{4} seconds=[0-9.]+ rate=\d+ mode=passive from=\S+ to=\S+ code=226 .* complete=true`,
		`msg=transfer .* verb=STOR .* direction=upload type=binary bytes=12[34]\d{4} .* mode=active .* complete=true`,
		`msg="session ended" .* cause=quit user=` + user + ` login=accepted encrypted=false seconds=\S+ data_connections=\d+ bytes_down=12[34]\d{4} bytes_up=0`,
	} {
		if !regexp.MustCompile(want).MatchString(d.Output()) {
			t.Errorf("no line of the log is %s", want)
		}
	}
	out, err := d.Host.Run(10*time.Second, Cmd(d.bin, "events", "--event", "transfer", "--control-socket", d.Socket))
	if err != nil {
		t.Fatal(err, out)
	}
	sums := map[string]int{}
	for line := range strings.Lines(out) {
		var e struct {
			Event, Direction, User, Mode string
			Session, Bytes               int
			Complete                     bool
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event != "transfer" || e.Session == 0 || !e.Complete {
			t.Errorf("event %s: %v", line, err)
		}
		sums[e.Direction+" "+e.Mode] += e.Bytes
	}
	for _, direction := range []string{"download active", "download passive", "upload active", "upload passive"} {
		// A segment that is sent again counts again.
		if n := sums[direction]; n < accountSize || n > accountSize+accountSize/100 {
			t.Errorf("%s: %d bytes, want %d", direction, n, accountSize)
		}
	}
	if strings.Contains(d.Output(), "PASS ") {
		t.Error("a password command is in the log")
	}
}

func (d *Daemon) wantXferlog(t *testing.T, path string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} \d+ \S+ 12[34]\d{4} \S+ b _ [io] [ar] \S+ ftp 0 \* c$`)
	var text []byte
	if err := waitFor(10*time.Second, "four lines of xferlog", func() bool {
		text, _ = os.ReadFile(path)
		return len(line.FindAll(text, -1)) == 4
	}); err != nil {
		t.Errorf("%v:\n%s", err, text)
	}
}
