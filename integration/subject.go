// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"testing"
)

// Subject is what makes FTP work on the firewalls of a Site.
type Subject struct {
	Name string
	// Strategy is the value of --strategy; empty: no daemon is started.
	Strategy string
	// Kernel attaches the in-kernel ftp helper to control connections.
	Kernel bool
	// Program is a pasvport binary other than the one under test; empty: that
	// one.
	Program string
}

// The subjects.
var (
	Expectation  = Subject{Name: "expectation", Strategy: "expectation"}
	Claim        = Subject{Name: "claim", Strategy: "claim"}
	Auto         = Subject{Name: "auto", Strategy: "auto"}
	KernelHelper = Subject{Name: "kernel", Kernel: true}
	Nothing      = Subject{Name: "nothing"}
)

// subjects are those that the cases run with: both strategies, or the in-kernel
// helper if PASVPORT_SUBJECT=kernel asks for the comparison.
func subjects(t testing.TB) []Subject {
	t.Helper()
	switch s := os.Getenv("PASVPORT_SUBJECT"); s {
	case "", "pasvport":
		return []Subject{Expectation, Claim}
	case "kernel":
		return []Subject{KernelHelper}
	default:
		t.Fatalf("PASVPORT_SUBJECT=%s: want pasvport or kernel", s)
		return nil
	}
}

// needDaemon skips tests of what the in-kernel helper lacks.
func needDaemon(t testing.TB) {
	t.Helper()
	if subjects(t)[0].Kernel {
		t.Skip("not a feature of the in-kernel ftp helper")
	}
}

// kernelHelperRules attach the in-kernel helper to the control ports, and mark
// data connections where the ruleset accepts by mark.
func kernelHelperRules(p Position, a Allow) string {
	ports := portSet(p.dialled())
	mark := ""
	if a == AllowMark {
		mark = "ct state established ct original proto-dst " + ports + " ct mark set ct mark or 0x04000000"
	}
	return fmt.Sprintf(`table inet kernelhelper {
	ct helper ftp-standard {
		type "ftp" protocol tcp
	}
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		tcp dport %[1]s ct helper set "ftp-standard"
		%[2]s
	}
	chain out {
		type filter hook output priority mangle; policy accept;
		tcp dport %[1]s ct helper set "ftp-standard"
		%[2]s
	}
}
`, ports, mark)
}
