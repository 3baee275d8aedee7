// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// accountSize is the size of the files that are transferred and counted, in
// bytes.
const accountSize = 1_234_567

// TestAccount: what a real client does with a real server appears in the log, the
// xferlog, the events and the list of sessions, with every byte.
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
				d.wantAccount(t, server.User, site.Client, site.Server)
				d.wantXferlog(t, xferlog)
			})
		}
	}
}

// wantAccount looks for the two downloads and two uploads between the ends in the
// log and in the events.
func (d *Daemon) wantAccount(t *testing.T, user string, ends ...*Host) {
	t.Helper()
	if err := waitFor(20*time.Second, "the end of four sessions in the log", func() bool {
		return strings.Count(d.Output(), `msg="session ended"`) == 4
	}); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		`msg="session began" client=\S+ server=\S+ session=\d+ `,
		`msg=login client=\S+ server=\S+ session=\d+ user=` + user,
		`msg=transfer .* verb=RETR path=\S+ .*direction=download type=binary bytes=1\d{6} seconds=[0-9.]+ rate=\d+ mode=passive from=\S+ to=\S+ code=226 .* complete=true`,
		`msg=transfer .* verb=STOR .* direction=upload type=binary bytes=1\d{6} .* mode=active .* complete=true`,
		`msg="session ended" .* cause=quit user=` + user + ` login=accepted encrypted=false seconds=\S+ data_connections=\d+ bytes_down=1\d{6} bytes_up=\d{1,4}\b`, // selective acknowledgements count
	} {
		if !regexp.MustCompile(want).MatchString(d.Output()) {
			t.Errorf("the log has no line %s", want)
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
	again := 0 // A retransmitted segment counts again.
	for _, h := range ends {
		again += h.repeated(t)
	}
	for _, direction := range []string{"download active", "download passive", "upload active", "upload passive"} {
		if n := sums[direction]; n < accountSize || n > accountSize+accountSize/100+again {
			t.Errorf("%s: %d bytes, want %d, and at most %d retransmitted", direction, n, accountSize, again)
		}
	}
	if strings.Contains(d.Output(), "PASS ") {
		t.Error("a password command is in the log")
	}
}

// repeated is an upper bound of the bytes that this host's TCP has retransmitted:
// on a busy machine it does so without any loss.
func (h *Host) repeated(t *testing.T) int {
	t.Helper()
	out, err := h.Run(10*time.Second, Cmd("cat", "/proc/net/snmp"))
	if err != nil {
		t.Fatal(err, out)
	}
	var names, values []string
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "Tcp: "); ok {
			names, values = values, strings.Fields(rest)
		}
	}
	i := slices.Index(names, "RetransSegs")
	if i < 0 {
		t.Fatalf("no RetransSegs in %s", out)
	}
	n, err := strconv.Atoi(values[i])
	if err != nil {
		t.Fatal(err)
	}
	return n * 1500
}

func (d *Daemon) wantXferlog(t *testing.T, path string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} \d+ \S+ 1\d{6} \S+ b _ [io] [ar] \S+ ftp 0 \* c$`)
	var text []byte
	if err := waitFor(10*time.Second, "four lines of xferlog", func() bool {
		text, _ = os.ReadFile(path)
		return len(line.FindAll(text, -1)) == 4
	}); err != nil {
		t.Errorf("%v:\n%s", err, text)
	}
}

// TestEndByHand: an administrator ends a session; both ends are reset at once,
// and the log says why.
func TestEndByHand(t *testing.T) {
	needDaemon(t)
	for _, name := range []string{"routed", "both-nat"} {
		for _, s := range subjects(t) {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(name), AllowRelated, s, "--log-sessions")
				d := site.Daemons[0]
				ln := site.ListenControl(t, IPv4)
				ended, other := site.Talk(t, ln, site.Client, IPv4), site.Talk(t, ln, site.Client, IPv4)
				ended.Announce(PASV).MustOpen(t).Close() // if translated, sequence numbers are adjusted
				end := func(id string) string {
					out, _ := d.Host.Run(10*time.Second, Cmd(d.bin, "sessions", "end", id, "--control-socket", d.Socket))
					return out
				}
				if out := end(ended.id(t, d)); out != "" {
					t.Fatal(out)
				}
				for _, c := range []net.Conn{ended.Client, ended.Server} {
					if err := c.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadAll(c); !errors.Is(err, unix.ECONNRESET) {
						t.Errorf("%s reads %v, want a reset", c.LocalAddr(), err)
					}
				}
				if err := d.WaitLog(startTimeout, `cause="by hand"`); err != nil {
					t.Error(err)
				}
				other.Command("NOOP")
				if out := end("1"); !strings.Contains(out, "session 1: no such session") {
					t.Errorf("another session: %q", out)
				}
			})
		}
	}
}

// id is the session's id in the daemon's list.
func (d *Dialogue) id(t *testing.T, daemon *Daemon) string {
	t.Helper()
	list, err := daemon.Sessions()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s["client"] == d.Client.LocalAddr().String() {
			return fmt.Sprintf("%.0f", s["id"])
		}
	}
	t.Fatalf("no session of %s in %v", d.Client.LocalAddr(), list)
	return ""
}
