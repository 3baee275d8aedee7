// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"time"
)

// Dump describes the state of the Net for debugging: rules, connections,
// expectations, queues, addresses, and logs.
func (n *Net) Dump() string {
	var b strings.Builder
	fmt.Fprintf(&b, "state of %s (addresses: ip netns exec NAME ip address)\n", n.name)
	for _, h := range n.hosts {
		h.dump(&b)
	}
	return b.String()
}

func (h *Host) dump(b *strings.Builder) {
	section := func(title, text string) {
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(b, "---- %s: %s\n%s\n", h.name, title, text)
		}
	}
	for _, args := range [][]string{
		{"ip", "-brief", "address"},
		{"nft", "list", "ruleset"},
		{"conntrack", "-L", "-f", "ipv4"},
		{"conntrack", "-L", "-f", "ipv6"},
		{"conntrack", "-L", "expect"},
		{"conntrack", "-S"},
	} {
		if args[0] == "conntrack" && !strings.HasPrefix(h.Role, "fw") {
			continue
		}
		out, err := h.Run(10*time.Second, Cmd(args...))
		if err != nil {
			out += err.Error()
		}
		section(strings.Join(args, " "), out)
	}
	section("nfnetlink_queue", h.Proc("netfilter/nfnetlink_queue"))
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.procs {
		section(fmt.Sprintf("%s (pid %d, running %t)", p.cmd, p.Pid, p.Running()), lastLines(p.Output(), 80))
	}
}

// lastLines keeps the last n lines of a long text.
func lastLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	if len(lines) <= n {
		return s
	}
	return fmt.Sprintf("[%d lines left out]\n", len(lines)-n) + strings.Join(lines[len(lines)-n:], "")
}
