// SPDX-License-Identifier: Apache-2.0

package bugreport

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// unpack returns the files of an archive.
func unpack(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		text, err2 := io.ReadAll(tr)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		files[strings.TrimPrefix(h.Name, "pasvport-report/")] = string(text)
	}
}

// TestWithoutDaemon: what is not available is replaced by the reason.
func TestWithoutDaemon(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.yaml")
	text := "port: 21\nvirtual-servers:\n- check: {user: probe, password: se cret, interval: 5s}\n- check:\n    password: 'it''s'\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.ControlSocket = filepath.Join(dir, "none")
	a := Collect(t.Context(), Source{Version: "pasvport v1\n", Config: cfg, File: file, Asked: true})
	var list, archive bytes.Buffer
	if err := errors.Join(a.List(&list), a.Write(&archive)); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, &archive)
	for name, want := range map[string]string{
		"version.txt": "pasvport v1", "kernel.txt": "uname: Linux", "status.json": "not available: no daemon answers", "events.jsonl": "not available",
		"configuration.yaml": "password: REMOVED, interval: 5s}\n  - check:\n      password: REMOVED\n",
		"doctor.txt":         "", "rules.nft": "", "ruleset.nft": "", "conntrack.txt": "", "settings.json": "not available", "sessions.json": "not available",
	} {
		if got, ok := files[name]; !ok || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", name, got, want)
		}
		if !strings.Contains(list.String(), name) {
			t.Errorf("the list does not have %s:\n%s", name, list.String())
		}
	}
}

// TestScrub: addresses are replaced, in the same way in every file, and no name
// of a user or a file remains.
func TestScrub(t *testing.T) {
	outside := func(name string) map[netip.Addr]config.Outside {
		return map[netip.Addr]config.Outside{netip.MustParseAddr("10.1.2.3"): {Name: name}}
	}
	cfg := config.Config{Advertise: outside("example.org"), Policies: []config.Policy{{Config: &config.Config{Advertise: outside("ftp.example.org")}}}}
	a := &Archive{hosts: hostNames(&cfg)}
	add := func(name, text string) { a.add(name, "", []byte(text), nil) }
	add("configuration.yaml", "# of alice\nadvertise: 10.1.2.3=198.51.100.7\n")
	add("sessions.json", `[{"id": 4294967295, "client": "10.1.2.3:4000", "user": "alice", "note": "of alice"}]`)
	add("events.jsonl", `{"event":"transfer","client":"10.1.2.3:4000","user":"alice","path":"secret.txt","absolute":"/home/alice/secret.txt","reply":"226 secret.txt sent"}`+"\n"+`{"event":"advertise","err":"lookup ftp.example.org on 10.1.2.3:53: no such host"}`+"\n")
	add("settings.json", `{"flags":{"port":["21"],"advertise":["10.1.2.3=example.org"],"xferlog":["/home/alice/log"]},"policies":[{"Config":{"Files":{"Deny":["*.secret"]}}}]}`)
	add("ruleset.nft", "ip saddr 10.1.2.3 ether saddr 52:54:00:12:34:56 accept comment \"alice's\"\nip6 saddr 2001:db8::17 comment \"pasvport: ours\"\n")
	add("doctor.txt", "10.1.2.3 to 198.51.100.7 at 12:34:56\n")
	if err := a.Scrub(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, &b)
	client := regexp.MustCompile(`10\.\d+\.\d+\.\d+`).FindString(files["doctor.txt"])
	for name, text := range files {
		for _, bad := range []string{"alice", "secret", "10.1.2.3", "198.51.100.7", "2001:db8::17", "52:54:00", "example", "ftp."} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q:\n%s", name, bad, text)
			}
		}
		if name != "configuration.yaml" && name != "settings.json" && !strings.Contains(text, client) {
			t.Errorf("%s does not have %s:\n%s", name, client, text)
		}
	}
	for _, want := range []string{"4294967295", `"user": "user`} {
		if !strings.Contains(files["sessions.json"], want) {
			t.Errorf("no %s in %s", want, files["sessions.json"])
		}
	}
	if !strings.Contains(files["ruleset.nft"], "pasvport: ours") || !strings.Contains(files["doctor.txt"], "12:34:56") {
		t.Errorf("%q", files)
	}
}
