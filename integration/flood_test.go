// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var residentSet = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// memory is the process's resident memory, in kB.
func (p *Process) memory(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := residentSet.FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmRSS in\n%s", text)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// onePinhole checks that one pinhole is open, in the daemon and in the kernel, in
// whichever form it has there.
func (s *Site) onePinhole(t *testing.T) {
	t.Helper()
	fw := s.Firewalls[0]
	status, err := s.Daemons[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	if n := status["pinholes_open"]; n != 1.0 {
		t.Errorf("%v pinholes are open", n)
	}
	// Elements of sets, one in the administrator's chain and, for a claim, one in
	// our own table.
	sets := map[string]int{Expectation.Name: 1, Claim.Name: 2}[s.Subject.Name]
	if n := openElements(fw.Rules(t)); n != sets {
		t.Errorf("%d elements in the sets, want %d", n, sets)
	}
	out, err := fw.Run(10*time.Second, Cmd("conntrack", "-L", "expect"))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	expectations := map[string]int{Expectation.Name: 1, Claim.Name: 0}[s.Subject.Name]
	if n := strings.Count(out, "proto=6"); n != expectations {
		t.Errorf("%d expectations, want %d:\n%s", n, expectations, out)
	}
}
