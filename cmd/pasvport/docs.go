// SPDX-License-Identifier: Apache-2.0

//go:build docs

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// The command that writes the manual pages is only in a binary built for that: it
// needs a Markdown parser.
func init() { buildCommands = append(buildCommands, newDocs) }

// sections follow cobra's description of the command, in pasvport(8).
const sections = `.SH FILES
.TP
.I /etc/pasvport/pasvport.yaml
Settings; see \fBpasvport.yaml\fP(5).
.TP
.I /run/pasvport/control.sock
Where the daemon answers \fBpasvport status\fP, \fBsessions\fP and \fBservers\fP.
.TP
.I /run/pasvport/*.handover
What was open when a daemon was stopped; the next start reads and removes it.
.SH EXIT STATUS
0: done, or the daemon was stopped on request. 1: failed. 2: wrong usage or settings.
.SH SIGNALS
.TP
.B SIGTERM, SIGINT
Stop: the rules are taken away, transfers go on. A daemon that is started again in time
opens what was announced and not used yet. A signal that
comes a second later or more ends the process at once.
.TP
.B SIGHUP
Read the settings again.
.SH SEE ALSO
\fBpasvport.yaml\fP(5), \fBnft\fP(8), \fBconntrack\fP(8)
`

func newDocs() *cobra.Command {
	return &cobra.Command{
		Use: "docs REFERENCE-FILE DIRECTORY", Short: "Write the manual pages", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return failed(writeDocs(args[0], args[1])) },
	}
}

// writeDocs makes one page of each command in section 8, and pasvport.yaml(5) of
// the reference file. Their date is SOURCE_DATE_EPOCH, which must be set.
func writeDocs(reference, dir string) error {
	root := newRoot() // not the running one: cobra gives that its completion command
	root.DisableAutoGenTag = true
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	date := time.Unix(seconds, 0).UTC()
	header := &doc.GenManHeader{Section: "8", Date: &date, Source: "pasvport " + version(), Manual: "System administration"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return err
	}
	if err := appendSections(filepath.Join(dir, "pasvport.8")); err != nil {
		return err
	}
	for command, list := range explanations {
		if err := explain(filepath.Join(dir, "pasvport-"+command+".8"), list); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(reference)
	if err != nil {
		return err
	}
	page := yamlPage(string(text), date.Format("2006-01-02"), header.Source)
	return os.WriteFile(filepath.Join(dir, "pasvport.yaml.5"), []byte(page), 0o644)
}

// seeAlso is the heading of the list of pages.
const seeAlso = "\n.SH SEE ALSO\n"

// cutSeeAlso returns what is before and after it in a page.
func cutSeeAlso(path string) (before, after string, err error) {
	page, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	before, after, found := strings.Cut(string(page), seeAlso)
	if !found {
		err = fmt.Errorf("%s: no SEE ALSO", path)
	}
	return before, after, err
}

// explain puts the explanations of a command's output before the list of pages.
func explain(path string, list []explanation) error {
	before, after, err := cutSeeAlso(path)
	if err != nil {
		return err
	}
	for _, e := range list {
		before += "\n.SH " + e.title
		for _, w := range e.words {
			before += "\n.TP\n.B " + w[0] + "\n" + w[1]
		}
	}
	return os.WriteFile(path, []byte(before+seeAlso+after), 0o644)
}

// appendSections puts our sections before the list of the commands' pages, whose
// heading is then ours.
func appendSections(path string) error {
	before, after, err := cutSeeAlso(path)
	if err != nil {
		return err
	}
	after = strings.TrimPrefix(after, ".PP\n")
	return os.WriteFile(path, []byte(before+"\n"+strings.TrimSuffix(sections, "\n")+",\n"+after), 0o644)
}
