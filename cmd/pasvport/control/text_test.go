// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestGolden(t *testing.T) {
	in := sample()
	now := in.status.Started.Add(3*time.Hour + 12*time.Minute + 5*time.Second + 300*time.Millisecond)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"status.txt":    func(b *bytes.Buffer) error { return WriteStatus(b, in.status, now) },
		"status.json":   func(b *bytes.Buffer) error { return WriteJSON(b, in.status) },
		"sessions.txt":  func(b *bytes.Buffer) error { return WriteSessions(b, in.sessions, now) },
		"sessions.json": func(b *bytes.Buffer) error { return WriteJSON(b, in.sessions) },
		"servers.txt":   func(b *bytes.Buffer) error { return WriteServers(b, in.servers, now) },
		"servers.json":  func(b *bytes.Buffer) error { return WriteJSON(b, in.servers) },
		"none.txt":      func(b *bytes.Buffer) error { return WriteSessions(b, nil, now) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.String())
		})
	}
}

// TestHostileText: a user name is what a stranger typed.
func TestHostileText(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"alice", "alice"},
		{"Jürgen", "Jürgen"},
		{"a\x1b[2Jb", `a\x1b[2Jb`},
		{"a\tb\nc", `a\tb\nc`},
		{"\x9b\xff", `\ufffd\ufffd`},
		{"\u202egpj.exe", `\u202egpj.exe`},
		{strings.Repeat("x", 500), strings.Repeat("x", 80) + "..."},
	} {
		if got := Clean(tt.in); got != tt.want {
			t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	var b bytes.Buffer
	if err := WriteSessions(&b, []Session{{User: "a\nb\x1bc"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 2 || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%d lines, want 2 and no escape:\n%q", n, b.String())
	}
}

func TestSize(t *testing.T) {
	for _, tt := range []struct {
		in   uint64
		want string
	}{
		{0, "0 B"}, {999, "999 B"}, {1000, "1 kB"}, {1234, "1.23 kB"}, {999_499, "999 kB"}, {999_500, "1 MB"},
		{52_428_800, "52.4 MB"}, {1 << 40, "1.1 TB"}, {1<<64 - 1, "18.4 EB"},
	} {
		if got := Size(tt.in); got != tt.want {
			t.Errorf("Size(%d) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// full is a disk without room.
type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteErrors(t *testing.T) {
	in := sample()
	for name, err := range map[string]error{
		"status":   WriteStatus(full{}, in.status, time.Now()),
		"sessions": WriteSessions(full{}, in.sessions, time.Now()),
		"servers":  WriteServers(full{}, in.servers, time.Now()),
		"json":     WriteJSON(full{}, in.status),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: error %v, want %v", name, err, errFull)
		}
	}
}

// TestJSONForPeople: JSON contains the text of a rule or a log line unescaped.
func TestJSONForPeople(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, map[string]string{"rule": "tcp dport <1024> & mark"}); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"rule\": \"tcp dport <1024> & mark\"\n}\n"; b.String() != want {
		t.Errorf("%s, want %s", b.String(), want)
	}
}
