// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A happening is something the kernel reported in the firewall's namespace.
type happening struct {
	at     time.Time // when the report was read
	what   string    // one of the constants below, as it is printed
	opened bool      // or else closed
	where  string    // the addresses, as they are printed
}

const (
	happenExpectation = "expectation"     // conntrack -E expect
	happenRule        = "rule's set"      // an element of a set that a rule looks into; nft monitor
	happenConnection  = "data connection" // a TCP connection other than a control connection; conntrack -E
)

// watchKernel runs the system's own event tools in the firewall's namespace. It
// returns when all of them listen.
func watchKernel(ctx context.Context, n *network) (*journal[happening], error) {
	j := newJournal[happening]()
	tools := []struct {
		read func(line string) []happening
		args []string
	}{
		{each(parseExpectation), []string{"conntrack", "-E", "expect"}},
		{each(parseConnection), []string{"conntrack", "-E", "-e", "NEW", "-p", "tcp"}},
		// nft keeps the line that ends a transaction back when it writes to a pipe.
		{new(transaction).read, []string{"stdbuf", "-oL", "nft", "monitor"}},
	}
	for _, tool := range tools {
		_, err := start(ctx, func(line string) {
			for _, h := range tool.read(line) {
				// What does not concern the server is the daemon trying out the kernel.
				if strings.Contains(h.where, serverAddr) {
					h.at = time.Now()
					j.add(h)
				}
			}
		}, n.inside(n.firewall, tool.args...)...)
		if err != nil {
			return nil, err
		}
	}
	return j, awaitListeners(ctx, n, len(tools))
}

// awaitListeners waits until so many sockets of the namespace have joined a
// netfilter multicast group. Each tool has one.
func awaitListeners(ctx context.Context, n *network, want int) error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		table, err := output(ctx, n.inside(n.firewall, "cat", "/proc/net/netlink")...)
		if err != nil {
			return err
		}
		if countListeners(table) >= want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("conntrack -E and nft monitor do not listen for events")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// countListeners counts in /proc/net/netlink the sockets of protocol 12
// (NETLINK_NETFILTER) with a group: columns sk, Eth, Pid, Groups.
func countListeners(table string) int {
	count := 0
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 3 && f[1] == "12" && strings.Trim(f[3], "0") != "" {
			count++
		}
	}
	return count
}

var (
	tuple   = regexp.MustCompile(`src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)`)
	element = regexp.MustCompile(`^(add|delete) element \S+ (\S+) (\S+) \{ (\S+) \. (\S+) \. (\S+)`)
)

// parseExpectation reads a line of conntrack -E expect:
//
//	[NEW] 300 proto=6 src=203.0.113.2 dst=203.0.113.1 sport=0 dport=40001 mask-src=...
func parseExpectation(line string) (happening, bool) {
	m := tuple.FindStringSubmatch(line)
	if m == nil {
		return happening{}, false
	}
	return happening{
		what:   happenExpectation,
		opened: strings.Contains(line, "[NEW]"),
		where:  m[1] + " -> " + m[2] + ":" + m[4],
	}, strings.Contains(line, "[NEW]") || strings.Contains(line, "[DESTROY]")
}

// parseConnection reads a line of conntrack -E: the tuple of the first packet,
// then the tuple of an answer, in which translated addresses show.
func parseConnection(line string) (happening, bool) {
	m := tuple.FindAllStringSubmatch(line, 2)
	if len(m) != 2 || m[0][4] == "21" {
		return happening{}, false
	}
	original, reply := m[0], m[1]
	where := fmt.Sprintf("%s:%s -> %s:%s", original[1], original[3], original[2], original[4])
	if destination := reply[1] + ":" + reply[3]; destination != original[2]+":"+original[4] {
		where += ", translated to " + destination
	}
	if source := reply[2] + ":" + reply[4]; source != original[1]+":"+original[3] {
		where += ", seen as coming from " + source
	}
	return happening{what: happenConnection, opened: true, where: where}, true
}

// parseElement reads a line of nft monitor about a pinhole set, whose elements
// are source address . destination address . destination port:
//
//	add element inet firewall pasvport4 { 203.0.113.2 . 192.168.77.2 . 40001 timeout 1m expires 1m }
//
// nft writes the name of a well-known port in place of its number.
func parseElement(line string) (happening, bool) {
	m := element.FindStringSubmatch(line)
	if m == nil {
		return happening{}, false
	}
	if _, err := netip.ParseAddr(m[4]); err != nil {
		return happening{}, false
	}
	return happening{
		what:   happenRule,
		opened: m[1] == "add",
		where:  fmt.Sprintf("%s -> %s:%s (set %s of table %s)", m[4], m[5], m[6], m[3], m[2]),
	}, true
}

// each reads a tool whose every line tells a happening or nothing.
func each(parse func(string) (happening, bool)) func(string) []happening {
	return func(line string) []happening {
		if h, ok := parse(line); ok {
			return []happening{h}
		}
		return nil
	}
}

// A transaction collects what nft monitor reports, up to the line that ends a
// transaction ("# new generation 5 by process 17 (pasvport)"). What it deletes
// and adds again, to set a timeout, was never closed: only its last word counts.
type transaction struct{ elements []happening }

func (t *transaction) read(line string) []happening {
	if h, ok := parseElement(line); ok {
		t.elements = slices.DeleteFunc(t.elements, func(o happening) bool { return o.where == h.where })
		t.elements = append(t.elements, h)
		return nil
	}
	if !strings.HasPrefix(line, "# new generation") {
		return nil
	}
	done := t.elements
	t.elements = nil
	return done
}

// A hole is what was open for one data connection: an expectation, or an element
// of a set.
//
// Each data connection has holeParts of them: an expectation, or, where pasvport
// claims, an element of its own set; and an element of the firewall's set.
type hole struct {
	what, where    string
	opened, closed time.Time // closed is zero while it is open
}

const holeParts = 2

// holes reads holes from the reports, in the order of their opening.
func holes(hs []happening) []hole {
	var all []hole
	for _, h := range hs {
		i := slices.IndexFunc(all, func(o hole) bool {
			return o.what == h.what && o.where == h.where && o.closed.IsZero()
		})
		switch {
		case isConnection(h):
		case !h.opened && i >= 0:
			all[i].closed = h.at
		case h.opened && i < 0:
			all = append(all, hole{what: h.what, where: h.where, opened: h.at})
		}
	}
	return all
}

func isConnection(h happening) bool { return h.what == happenConnection }

// stillOpen counts the holes that are not closed.
func stillOpen(hs []hole) int {
	open := 0
	for _, h := range hs {
		if h.closed.IsZero() {
			open++
		}
	}
	return open
}
