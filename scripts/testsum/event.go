// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// modulePath is cut off the names of packages.
const modulePath = "github.com/pasvport/pasvport"

// An event is one line of `go test -json` (go doc test2json).
type event struct {
	Action      string // run, pass, fail, skip, output, build-output, build-fail, ...
	Package     string
	ImportPath  string // of build-output and build-fail
	Test        string // "" for events of the package
	Elapsed     float64
	Output      string
	FailedBuild string // of a package's fail: the package that did not build
}

// built is the package of a build event: the import path of a package built for a
// test is "pkg [pkg.test]".
func built(importPath string) string {
	pkg, _, _ := strings.Cut(importPath, " ")
	return pkg
}

// readEvents passes each event of a run to f. A line that is not JSON was printed
// by go itself and becomes output of no package.
func readEvents(r io.Reader, f func(event)) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				e = event{Action: "output", Output: string(line)}
			}
			f(e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// shortName is a package's name within the module.
func shortName(pkg string) string {
	if pkg == modulePath {
		return "."
	}
	return strings.TrimPrefix(pkg, modulePath+"/")
}

// seconds prints a duration given in seconds.
func seconds(s float64) string { return fmt.Sprintf("%.1fs", s) }
