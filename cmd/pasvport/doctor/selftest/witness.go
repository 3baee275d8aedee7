// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/netns"
)

// A happening is an event that the kernel reported on the firewall.
type happening struct {
	at     time.Time // when the report was read
	what   string    // one of the constants below, as it is printed
	opened bool      // otherwise closed
	where  string    // the addresses, as they are printed
}

const (
	happenExpectation = "expectation"      // conntrack -E expect
	happenElement     = "element of a set" // nft monitor
	happenConnection  = "data connection"  // a TCP connection other than a control connection; conntrack -E
)

// A witness records what the kernel reports on the firewall, with the system's
// own tools and not with pasvport's code. A nil one has seen nothing.
type witness struct {
	port string // the control port
	mu   sync.Mutex
	list []happening
	more chan struct{} // closed when list grows
}

// errNoTools means that the tools are missing.
var errNoTools = errors.New("needs the programs conntrack, nft and stdbuf")

// newWitness runs the tools in a namespace. It returns when all of them listen.
func newWitness(n *netns.Namespace, port uint16) (*witness, error) {
	w := &witness{port: fmt.Sprint(port), more: make(chan struct{})}
	tools := []struct {
		read func(line string) []happening
		args []string
	}{
		{each(parseExpectation), []string{"conntrack", "-E", "expect"}},
		{each(w.parseConnection), []string{"conntrack", "-E", "-e", "NEW", "-p", "tcp"}},
		// nft holds the line that ends a transaction back when it writes to a
		// pipe.
		{new(transaction).read, []string{"stdbuf", "-oL", "nft", "monitor"}},
	}
	for _, name := range []string{"conntrack", "nft", "stdbuf"} {
		if _, err := exec.LookPath(name); err != nil {
			return nil, errNoTools
		}
	}
	for _, tool := range tools {
		cmd := exec.Command(tool.args[0], tool.args[1:]...)
		if _, err := start(n, cmd, cmd.StdoutPipe, func(line string) { w.add(tool.read(line)) }); err != nil {
			return nil, err
		}
	}
	return w, awaitListeners(n, len(tools))
}

// add records reports. Those that do not concern the two hosts come from the
// daemon's probe of the kernel.
func (w *witness) add(hs []happening) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range hs {
		if strings.Contains(h.where, server4.String()) || strings.Contains(h.where, server6.String()) {
			h.at = time.Now()
			w.list = append(w.list, h)
			close(w.more)
			w.more = make(chan struct{})
		}
	}
}

// mark returns how many reports there are, and since those after a mark.
func (w *witness) mark() int {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.list)
}

func (w *witness) since(mark int) []happening {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list[mark:])
}

// await waits until f accepts the reports after a mark.
func (w *witness) await(mark int, f func([]happening) bool) bool {
	late := time.After(3 * time.Second)
	for {
		w.mu.Lock()
		list, more := slices.Clone(w.list[mark:]), w.more
		w.mu.Unlock()
		if f(list) {
			return true
		}
		select {
		case <-more:
		case <-late:
			return false
		}
	}
}

// closed waits until a hole was opened after a mark, used, and all of it closed.
func (w *witness) closed(mark int) error {
	if w == nil {
		return nil
	}
	all, open := 0, 0
	tidy := w.await(mark, func(hs []happening) bool {
		found := holes(hs)
		all, open = len(found), stillOpen(found)
		return all > 0 && open == 0 && slices.ContainsFunc(hs, isConnection)
	})
	switch {
	case tidy:
		return nil
	case open > 0:
		return errors.New("the file arrived, but a part of its hole is still open")
	}
	return fmt.Errorf("the file arrived, but the kernel reported %d parts of its hole, or no data connection", all)
}

// open waits until a hole was opened after a mark and not closed.
func (w *witness) open(mark int) error {
	if w == nil || w.await(mark, func(hs []happening) bool { return stillOpen(holes(hs)) > 0 }) {
		return nil
	}
	return errors.New("the kernel reported no hole")
}

// awaitListeners waits until this many sockets of the namespace have joined a
// netfilter multicast group. Each tool has one.
func awaitListeners(n *netns.Namespace, want int) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var table []byte
		err := n.Do(func() (err error) {
			table, err = os.ReadFile("/proc/thread-self/net/netlink")
			return err
		})
		if err != nil || countListeners(string(table)) >= want {
			return err
		}
	}
	return errors.New("conntrack -E and nft monitor do not listen for events")
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
		where:  m[1] + " -> " + addrPort(m[2], m[4]),
	}, strings.Contains(line, "[NEW]") || strings.Contains(line, "[DESTROY]")
}

// parseConnection reads a line of conntrack -E: the tuple of the first packet,
// then the tuple of an answer, in which translated addresses show.
func (w *witness) parseConnection(line string) (happening, bool) {
	m := tuple.FindAllStringSubmatch(line, 2)
	if len(m) != 2 || m[0][4] == w.port {
		return happening{}, false
	}
	original, reply := m[0], m[1]
	from, to := addrPort(original[1], original[3]), addrPort(original[2], original[4])
	where := from + " -> " + to
	if destination := addrPort(reply[1], reply[3]); destination != to {
		where += ", translated to " + destination
	}
	if source := addrPort(reply[2], reply[4]); source != from {
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
		what:   happenElement,
		opened: m[1] == "add",
		where:  fmt.Sprintf("%s -> %s (set %s of table %s)", m[4], addrPort(m[5], m[6]), m[3], m[2]),
	}, true
}

func addrPort(addr, port string) string {
	if strings.Contains(addr, ":") {
		addr = "[" + addr + "]"
	}
	return addr + ":" + port
}

// each reads a tool each of whose lines is a happening or nothing.
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
// and adds again, to set a timeout, was never closed: only the last report on it
// counts.
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

// A hole is what was open for one data connection: an expectation, or an element of
// a set. A data connection may have one of each.
type hole struct {
	what, where    string
	opened, closed time.Time // closed is zero while it is open
}

// holes finds the holes in the reports, in the order of their opening.
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
