// SPDX-License-Identifier: Apache-2.0

// Command testsum reads what `go test -json` writes.
//
//	go test -json ./... | testsum -progress   one line per package as it ends
//	testsum FILE...                           failed and skipped tests, and the count
//
// Each file is one run of the tests. A test that several runs have in common (with
// and without the race detector, say) counts once: failed if it failed in any of
// them, passed if it passed in any. A test with subtests is counted as them, unless
// it failed on its own account. The exit status is 1 if anything failed.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	progress := flag.Bool("progress", false, "read one run from standard input and print its progress")
	flag.Parse()
	ok, err := run(*progress, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(progress bool, files []string) (bool, error) {
	if progress {
		p := newProgress(os.Stdout)
		return true, readEvents(os.Stdin, p.event)
	}
	total := newTally()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return false, err
		}
		one := newTally()
		err = readEvents(f, one.event)
		f.Close()
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		one.finish()
		total.merge(one)
	}
	return total.report(os.Stdout), nil
}
