// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// parallel is how many tests run at once without -parallel: they mostly wait, for
// a dropped packet's timeout or for a process.
const parallel = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", parallel)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() == 0 {
		sweep()
		// Built before the clock of any test runs.
		if _, err := binary.file(); err != nil {
			fmt.Fprintf(os.Stderr, "integration: %v\n", err)
			return 1
		}
	}
	defer binary.remove()
	defer removeAll()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		fmt.Fprintf(os.Stderr, "integration: %v, cleaning up\n", <-stop)
		removeAll()
		binary.remove()
		os.Exit(130)
	}()
	code := m.Run()
	if err := cases.report(); err != nil {
		fmt.Fprintf(os.Stderr, "integration: counts: %v\n", err)
		return 1
	}
	return code
}
