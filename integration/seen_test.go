// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWords: for an unused pinhole the log names which of three causes it was,
// and at a stop what the daemon leaves.
func TestWords(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("routed"), AllowRelated, s)
			d := site.Daemons[0]
			ln := site.ListenControl(t, IPv4)
			talk := site.Talk(t, ln, site.Client, IPv4)
			talk.Announce(PASV)
			talk.Announce(PASV)
			if err := d.WaitLog(10*time.Second, `cause="another announcement took its place"`); err != nil {
				t.Error(err)
			}
			talk.Client.Close()
			talk.Server.Close()
			if err := d.WaitLog(10*time.Second, `cause="the session is over"`); err != nil {
				t.Error(err)
			}
			if err := waitFor(10*time.Second, "a closed session to leave the list and the count", func() bool {
				list, err := d.Sessions()
				status, err2 := d.Status()
				return err == nil && err2 == nil && len(list) == 0 && status["sessions"] == 0.0
			}); err != nil {
				t.Error(err)
			}
			site.Talk(t, ln, site.Client, IPv4).Announce(PASV)
			if status, err := d.Stop(syscall.SIGTERM); err != nil || status != 0 {
				t.Fatal(status, err)
			}
			for _, want := range []string{`msg=stopping sessions=1 pinholes=1`, `reason="the daemon stops"`, `msg="stopped: 1 pinholes handed over" pinholes=1`} {
				if !strings.Contains(d.Output(), want) {
					t.Errorf("no %s in the log:\n%s", want, lastLines(d.Output(), 20))
				}
			}
		})
	}
}

// TestReport: the archive for a bug report contains the state of the daemon, the
// kernel and the ruleset; scrubbed, it contains no address or name of the users.
func TestReport(t *testing.T) {
	needDaemon(t)
	site := NewSite(t, position("masquerade"), AllowChain, Auto, "--log-sessions", "--log-transfers")
	d := site.Daemons[0]
	server := site.StartServer(t, Vsftpd)
	site.mustTransfer(t, server)
	server.Stop()
	talk := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
	talk.Announce(PASV)
	client := talk.clientAddr().String()
	for _, scrub := range []bool{false, true} {
		path := filepath.Join(d.Host.Dir, "report.tar.gz")
		args := []string{d.bin, "report", "-o", path, "--control-socket", d.Socket}
		if scrub {
			args = append(args, "--scrub")
		}
		out, err := d.Host.Run(60*time.Second, Cmd(args...))
		if err != nil || !strings.Contains(out, "sessions.json") {
			t.Fatal(err, out)
		}
		files := unpack(t, path)
		for name, want := range map[string]string{
			"version.txt": "pasvport ", "kernel.txt": "nf_conntrack_max", "settings.json": `"allow"`, "status.json": `"decisions"`,
			"sessions.json": `"last_command"`, "events.jsonl": `"event":"pinhole opened"`, "doctor.txt": "a daemon is running",
			"rules.nft": "chain divert", "ruleset.nft": "table inet filter", "conntrack.txt": "control ",
		} {
			if !strings.Contains(files[name], want) {
				t.Errorf("scrub %t: %s has no %s:\n%s", scrub, name, want, files[name])
			}
		}
		for name, text := range files {
			for _, of := range []string{client, "upload/f"} {
				if scrub && strings.Contains(text, of) {
					t.Errorf("%s has %s:\n%s", name, of, text)
				}
			}
		}
		if !scrub && (!strings.Contains(files["sessions.json"], client) || !strings.Contains(files["events.jsonl"], "upload/f")) {
			t.Error("neither the client nor a file is in the report")
		}
		if out, err := d.Host.Run(60*time.Second, Cmd(args...)); err == nil {
			t.Errorf("an existing file was overwritten: %s", out)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// unpack returns the files of a report.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(h.Name)] = string(text)
	}
}
