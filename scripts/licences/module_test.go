// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinked: the licence of each module that is linked into the program can be
// written, and is compatible with ours.
func TestLinked(t *testing.T) {
	t.Chdir("../..")
	var b bytes.Buffer
	if err := run(&b, "scripts/package.d/copyright", "LICENSE", []string{"./cmd/pasvport"}); err != nil {
		t.Fatal(err)
	}
	licence, err := os.ReadFile("LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(strings.Trim(string(licence), "\n"), "\n")
	for _, want := range []string{
		"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n",
		"\nFiles: std/*\nCopyright: Copyright 2009 The Go Authors.\n",
		"\nLicense: Apache-2.0\n " + own,
		"\nFiles: github.com/spf13/cobra/*\n",
		"\n Permission is hereby granted, free of charge",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(b.String(), "Files: github.com/pasvport") || strings.Contains(b.String(), "staticcheck") {
		t.Error("more than what is linked in")
	}
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, " ") || line == "\n" {
			continue
		}
		if field, _, ok := strings.Cut(line, ": "); !ok || strings.Contains(field, " ") {
			t.Errorf("not a field: %q", line)
		}
	}
}

func TestRead(t *testing.T) {
	const mit = "Copyright (c) 2020 Someone\n\nPermission is hereby granted, free of charge, to any person\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string // of the licence
		err   error
	}{
		{"plain", map[string]string{"LICENSE": mit}, "MIT", nil},
		{"other name", map[string]string{"COPYING.txt": mit, "notice": "for you"}, "MIT", nil},
		{"copyleft", map[string]string{"LICENSE": "GNU GENERAL PUBLIC LICENSE\nVersion 3"}, "", errUnknown},
		{"words of a licence", map[string]string{"LICENSE": "Permission is granted"}, "", errUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m, err := read("m", "v1", dir)
			if !errors.Is(err, tt.err) || m.licence != tt.want {
				t.Errorf("licence %q, error %v", m.licence, err)
			}
			if err == nil && m.holders()[0] != "Copyright (c) 2020 Someone" {
				t.Errorf("holders %q", m.holders())
			}
			for _, text := range tt.files {
				if !strings.Contains(m.text+m.notice, strings.TrimSpace(text)) {
					t.Errorf("the text of %q is incomplete", text)
				}
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "NOTICE"), []byte("for you"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read("m", "v1", dir); err == nil {
		t.Error("a module without a licence is accepted")
	}
}
