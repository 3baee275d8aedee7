// SPDX-License-Identifier: Apache-2.0

//go:build docs

package main

import (
	"fmt"
	"strings"
)

// yamlPage turns the reference file into a manual page. The file is made of
// blocks with a blank line between them: a comment, then keys that are
// commented out (`#key: value`), the first of them at its default. The first
// block, about the file itself, has no key.
func yamlPage(reference, date, source string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH PASVPORT.YAML 5 %q %q \"File formats\"\n", date, source)
	b.WriteString(".SH NAME\npasvport.yaml \\- settings of pasvport\n.SH SYNOPSIS\n.I /etc/pasvport/pasvport.yaml\n.SH DESCRIPTION\n")
	keys := false
	for block := range strings.SplitSeq(strings.TrimSpace(reference), "\n\n") {
		text, lines := splitBlock(block)
		if len(lines) == 0 {
			writeProse(&b, text)
			continue
		}
		if !keys {
			b.WriteString(".SH SETTINGS\n")
			keys = true
		}
		fmt.Fprintf(&b, ".SS %s\n", roff(strings.TrimSpace(strings.SplitN(lines[0], ":", 2)[0])))
		writeProse(&b, text)
		b.WriteString(".PP\n.nf\n.RS 4\n")
		for _, l := range lines {
			b.WriteString(roff(l) + "\n")
		}
		b.WriteString(".RE\n.fi\n")
	}
	b.WriteString(".SH SEE ALSO\n\\fBpasvport\\fP(8), \\fBpasvport-run\\fP(8)\n")
	return b.String()
}

// splitBlock parts a block into its comment and its keys, both without '#'.
func splitBlock(block string) (text, keys []string) {
	for l := range strings.SplitSeq(block, "\n") {
		switch {
		case strings.Contains(l, "SPDX-License-Identifier"):
		case l == "#":
			text = append(text, "")
		case strings.HasPrefix(l, "# "):
			text = append(text, l[2:])
		default:
			keys = append(keys, strings.TrimPrefix(l, "#"))
		}
	}
	return text, keys
}

// writeProse lets plain lines flow, and keeps indented ones, which are tables, as
// they are.
func writeProse(b *strings.Builder, text []string) {
	table := false
	for _, l := range text {
		indented := strings.HasPrefix(l, "  ")
		if indented != table {
			b.WriteString(map[bool]string{true: ".PP\n.nf\n", false: ".fi\n.PP\n"}[indented])
			table = indented
		}
		if l == "" {
			l = ".PP"
		} else {
			l = roff(l)
		}
		b.WriteString(l + "\n")
	}
	if table {
		b.WriteString(".fi\n")
	}
}

// roff keeps what roff would read as its own.
func roff(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	s = strings.ReplaceAll(s, "-", `\-`)
	s = strings.ReplaceAll(s, "'", `\(aq`)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}
