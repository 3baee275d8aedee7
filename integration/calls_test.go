// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// calls are a process's read and write system calls: requests to conntrack and
// their answers, verdicts and log lines use these. (Packets and conntrack's
// events arrive by recvmmsg, which is not counted; TestTrips counts packets,
// TestFewEvents events.)
type calls struct{ reads, writes int }

func (p *Process) calls(t *testing.T) (c calls) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.Pid))
	if os.IsNotExist(err) {
		t.Skip("this kernel counts no system calls (CONFIG_TASK_IO_ACCOUNTING)")
	}
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "syscr: %d", &c.reads)
		_, _ = fmt.Sscanf(line, "syscw: %d", &c.writes)
	}
	if err != nil || c == (calls{}) {
		t.Fatalf("%q: %v", text, err)
	}
	return c
}

// TestCalls limits the system calls of transfers. A verdict is a write for each
// packet that arrives alone, an expectation two, a change of sequence numbers
// one, a claim and a set element each two, and a log line one, unless several are
// written together. Each answer is a read. Timers add some more, so the count has
// to be right in one of several tries. With several processors the runtime adds a write
// and a read whenever one wakes another, which on a busy machine happens in all of them.
func TestCalls(t *testing.T) {
	needDaemon(t)
	t.Setenv("GOMAXPROCS", "1")
	const times, tries = 20, 40
	for _, tt := range []struct {
		subject Subject
		mode    Mode
		flag    string
		most    calls // of all transfers
	}{
		{Expectation, PASV, "off", calls{3 * times, 9 * times}},
		{Expectation, PORT, "off", calls{4 * times, 10 * times}},
		{Expectation, PASV, "auto", calls{3 * times, 5 * times}},
		{Claim, PASV, "off", calls{5 * times, 12 * times}},
		{Claim, PORT, "off", calls{6 * times, 13 * times}}, // also looks for entries that linger between the same ports
		{Claim, PASV, "auto", calls{5 * times, 8 * times}},
	} {
		t.Run(fmt.Sprintf("masquerade/%s/%s/fast-path=%s", tt.subject.Name, tt.mode, tt.flag), func(t *testing.T) {
			site, d, c := miniSite(t, "masquerade", tt.subject, "--fast-path", tt.flag)
			if tt.flag == "auto" {
				d.needFastPath(t)
			}
			site.Case(Case{Kind: "system calls", Family: IPv4}).Count(t)
			tt.most.reads += 2 * times * int(slowness-1) // timers add more
			tt.most.writes += 2 * times * int(slowness-1)
			var got calls
			for range tries {
				before := d.calls(t)
				for range times {
					if _, err := c.transfer(tt.mode, "small", io.Discard); err != nil {
						t.Fatal(err)
					}
				}
				after := d.calls(t)
				got = calls{after.reads - before.reads, after.writes - before.writes}
				if got.reads <= tt.most.reads && got.writes <= tt.most.writes {
					return
				}
			}
			t.Errorf("%+v for %d transfers, want at most %+v", got, times, tt.most)
		})
	}
}
