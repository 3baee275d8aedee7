// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A module is linked into the program.
type module struct {
	name, version string
	licence       string // its name in SPDX's list
	text          string // of the licence, verbatim
	notice        string // other texts that it requires to be passed on, verbatim
}

// apache is our own licence, whose text is in the file once.
const apache = "Apache-2.0"

// linked returns the modules of the packages, as built for Linux on any of our
// architectures, by name, and Go's own library first.
func linked(packages []string) ([]module, error) {
	found := map[string]bool{}
	for _, arch := range []string{"amd64", "arm64"} {
		args := append([]string{"list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}"}, packages...)
		out, err := goTool(arch, args...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			if line = strings.TrimSpace(line); line != "" {
				found[line] = true
			}
		}
	}
	out, err := goTool("amd64", "env", "GOROOT", "GOVERSION")
	if err != nil {
		return nil, err
	}
	root, version, _ := strings.Cut(strings.TrimSpace(out), "\n")
	std, err := read("std", version, root)
	if err != nil {
		return nil, err
	}
	modules := []module{std}
	for _, line := range slices.Sorted(maps.Keys(found)) {
		f := strings.Split(line, "\t")
		m, err := read(f[0], f[1], f[2])
		if err != nil {
			return nil, err
		}
		modules = append(modules, m)
	}
	return modules, nil
}

func goTool(arch string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, stderr.String())
	}
	return string(out), nil
}

// The files at the top of a module that must accompany a copy of it.
var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying)(\.(txt|md))?$`)
	noticeFile  = regexp.MustCompile(`(?i)^notice(\.(txt|md))?$`)
)

// read takes a module's licence from its folder.
func read(name, version, dir string) (module, error) {
	m := module{name: name, version: version}
	var err error
	if m.text, err = contents(dir, licenceFile); err != nil {
		return m, err
	}
	if m.notice, err = contents(dir, noticeFile); err != nil {
		return m, err
	}
	if m.text == "" {
		return m, fmt.Errorf("%s %s has no licence file", name, version)
	}
	if m.licence = recognise(m.text); m.licence == "" {
		return m, fmt.Errorf("%s %s: %w", name, version, errUnknown)
	}
	return m, nil
}

// contents are the concatenated files of a folder with such a name.
func contents(dir string, name *regexp.Regexp) (string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, f := range files {
		if !name.MatchString(f.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return "", err
		}
		texts = append(texts, strings.Trim(string(text), "\r\n"))
	}
	return strings.Join(texts, "\n\n"), nil
}

var errUnknown = errors.New("its licence is not one of Apache-2.0, BSD-2-Clause, BSD-3-Clause, ISC and MIT")

// licences are those compatible with ours, and words that only they contain; the
// first match wins.
var licences = []struct {
	name  string
	words []string
}{
	{apache, []string{"Apache License", "Version 2.0, January 2004"}},
	{"MIT", []string{"Permission is hereby granted, free of charge"}},
	{"BSD-3-Clause", []string{"Redistribution and use in source and binary forms", "endorse or promote products"}},
	{"BSD-2-Clause", []string{"Redistribution and use in source and binary forms", "THIS SOFTWARE IS PROVIDED"}},
	{"ISC", []string{"Permission to use, copy, modify, and", "distribute this software for any purpose with or without fee"}},
}

// recognise names a licence by its text; empty: unknown.
func recognise(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, l := range licences {
		if !slices.ContainsFunc(l.words, func(w string) bool { return !strings.Contains(text, w) }) {
			return l.name
		}
	}
	return ""
}

// write adds the paragraph of a module.
func (m module) write(w io.Writer) error {
	comment := fmt.Sprintf("Go module %s %s, linked in.", m.name, m.version)
	if m.notice != "" {
		comment += "\n" + indented(m.notice)
	}
	text := ""
	if m.licence != apache {
		text = "\n" + indented(m.text)
	}
	_, err := fmt.Fprintf(w, "\nFiles: %s/*\nCopyright: %s\nComment: %s\nLicense: %s%s\n",
		m.name, strings.Join(m.holders(), "\n "), comment, m.licence, text)
	return err
}

var copyrightLine = regexp.MustCompile(`(?m)^[ \t/*#]*((?:Copyright|COPYRIGHT)\b.*\d{4}.*?)[ \t]*$`)

// holders are the lines that name the copyright holders.
func (m module) holders() []string {
	var list []string
	for _, line := range copyrightLine.FindAllStringSubmatch(m.text+"\n"+m.notice, -1) {
		if !slices.Contains(list, line[1]) {
			list = append(list, line[1])
		}
	}
	if len(list) == 0 {
		list = []string{"the authors of " + m.name}
	}
	return list
}

// indented is a text as the continuation of a field: lines begin with a space, and
// empty ones are dots.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \t\r\n"); line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}
