// SPDX-License-Identifier: Apache-2.0

// Command licences writes the copyright file of the packages (Debian's DEP-5): a
// head that it is given, then each Go module that is linked into the program, with
// its version and the verbatim text of its licence.
//
//	licences HEAD LICENCE PACKAGE...   writes to standard output
//
// LICENCE is the text of our own.
//
// It ends with status 1 if a module has no licence text, or one that may not be
// passed on with a program under the Apache licence.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: licences HEAD LICENCE PACKAGE...")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, head, licence string, packages []string) error {
	text, err := os.ReadFile(head)
	if err != nil {
		return err
	}
	own, err := os.ReadFile(licence)
	if err != nil {
		return err
	}
	modules, err := linked(packages)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	for _, m := range modules {
		if err := m.write(w); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "\nLicense: %s\n%s\n", apache, indented(strings.Trim(string(own), "\n")))
	return err
}
