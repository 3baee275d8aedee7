// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dropTime is how long to wait for a line that the subject may drop, and
// dataTimeout for a data connection that it may refuse: enough for what is lost to be repeated.
const (
	dropTime    = 3 * time.Second
	dataTimeout = 1500 * time.Millisecond
)

// An announcement is a dialogue with one announcing line.
type announcement struct {
	name string
	// before are the lines before it, in order: "C: " from the client, "S: " from
	// the server.
	before []string
	// line announces %h,%p (six numbers, as in PORT), %s (separated by spaces),
	// or %a and %n (address and port; %z: with leading zeros). The client sends
	// it if it begins with "C: ".
	line string
	// after are the lines that follow it.
	after []string
}

// active reports whether the client announces, and so listens.
func (a announcement) active() bool { return strings.HasPrefix(a.line, "C: ") }

// TestDifferential runs the same dialogues with the in-kernel helper and with
// both strategies. The outcomes must be the same unless docs/differences.md lists
// the difference, and then as listed.
func TestDifferential(t *testing.T) {
	needDaemon(t)
	listed := readDifferences(t, "../docs/differences.md")
	seen := make(map[string]map[string]string) // by name and subject
	for _, s := range []Subject{KernelHelper, Expectation, Claim} {
		for name, outcome := range differentialRun(t, s) {
			if seen[name] == nil {
				seen[name] = make(map[string]string)
			}
			seen[name][s.Name] = outcome
		}
	}
	differences := 0
	for name, by := range seen {
		kernel, ours := by[KernelHelper.Name], by[Expectation.Name]
		if c := by[Claim.Name]; c != ours {
			t.Errorf("%s: the strategies differ: %q and %q", name, ours, c)
		}
		l, ok := listed[name]
		delete(listed, name)
		switch {
		case kernel == ours && ok:
			t.Errorf("%s: listed, but both: %q", name, ours)
		case kernel != ours && !ok:
			t.Errorf("%s: not listed: in-kernel helper %q, pasvport %q", name, kernel, ours)
		case ok && (l.kernel != kernel || l.ours != ours):
			t.Errorf("%s: listed as %q and %q, is %q and %q", name, l.kernel, l.ours, kernel, ours)
		}
		if kernel != ours {
			differences++
		}
	}
	for name := range listed {
		t.Errorf("%s: listed, but no dialogue", name)
	}
	fmt.Printf("differential: %d dialogues, %d differences from the in-kernel helper\n", len(seen), differences)
}

// listedDifference is what the table in docs/differences.md says of a dialogue.
type listedDifference struct{ kernel, ours string }

// readDifferences reads the rows, whose first three columns are the outcome with the
// in-kernel helper and with pasvport, and the dialogues that have it.
func readDifferences(t *testing.T, path string) map[string]listedDifference {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]listedDifference)
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, "|")
		if len(f) < 6 || strings.Contains(line, "---") || strings.Contains(f[3], "Dialogues") {
			continue
		}
		for name := range strings.SplitSeq(f[3], ";") {
			name = strings.TrimSpace(name)
			if _, twice := rows[name]; twice {
				t.Errorf("%s: listed twice", name)
			}
			rows[name] = listedDifference{strings.TrimSpace(f[1]), strings.TrimSpace(f[2])}
		}
	}
	return rows
}

// differentialRun runs all dialogues at once with one subject.
func differentialRun(t *testing.T, s Subject) map[string]string {
	t.Helper()
	site := NewSite(t, position("both-nat"), AllowRelated, s)
	site.Case(Case{Family: IPv4, Kind: "differential"}).Count(t)
	type result struct{ name, outcome string }
	results := make(chan result)
	ln := site.ListenControl(t, IPv4)
	for _, a := range announcements {
		d := site.Talk(t, ln, site.Client, IPv4)
		go func() { results <- result{a.name, d.try(a)} }()
	}
	all := make(map[string]string)
	for range announcements {
		r := <-results
		all[r.name] = r.outcome
	}
	return all
}

// try runs a dialogue and returns its outcome: what the other end received, and
// whether the announced data connection opens.
func (d *Dialogue) try(a announcement) string {
	for _, line := range a.before {
		if got, err := d.speak(line + "\r\n"); err != nil || got != strings.TrimRight(line[3:], "\r") {
			return fmt.Sprintf("before it %q was heard as %q, %v", line, got, err)
		}
	}
	host, addr, opener := d.listensAt(PASV)
	if a.active() {
		host, addr, opener = d.listensAt(PORT)
	}
	ln, err := host.Listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return err.Error()
	}
	defer ln.Close()
	o := &Offer{Opener: opener, listener: ln}
	go o.serve()
	announced := addrOf(ln.Addr())
	// Where the opener would find it if the text is not translated.
	o.To = netip.AddrPortFrom(d.dialledBy(a), announced.Port())
	said := fill(a.line, announced)
	heard, err := d.speak(said)
	if err != nil {
		return "dropped"
	}
	outcome := "unchanged"
	if heard != strings.TrimRight(said[3:], "\r\n") {
		outcome = "translated"
		if addresses.ReplaceAllString(heard, "#") != addresses.ReplaceAllString(strings.TrimRight(said[3:], "\r\n"), "#") {
			outcome = "translated in other words"
		}
		if to, ok := findAddress(heard, o.To.Addr()); ok {
			o.To = to
		}
	}
	for _, line := range a.after {
		if _, err := d.speak(line + "\r\n"); err != nil {
			return outcome + ", then dropped"
		}
	}
	c, err := o.Connect(opener, dataTimeout)
	if err != nil {
		return outcome + ", closed"
	}
	c.Close()
	return outcome + ", open"
}

// dialledBy is the address at which the opener reaches the other end.
func (d *Dialogue) dialledBy(a announcement) netip.Addr {
	if a.active() {
		return addrOf(d.Server.RemoteAddr()).Addr()
	}
	return addrOf(d.Client.RemoteAddr()).Addr()
}

// fill puts an address into a line and terminates it, unless it is terminated.
func fill(line string, a netip.AddrPort) string {
	host := a.Addr().As4()
	zeros := fmt.Sprintf("%03d.%03d.%03d.%03d", host[0], host[1], host[2], host[3])
	spaces := strings.ReplaceAll(argument(PORT, a), ",", ", ")
	line = strings.NewReplacer("%s", spaces, "%z", zeros, "%h", strings.ReplaceAll(a.Addr().String(), ".", ","),
		"%p", fmt.Sprintf("%d,%d", a.Port()>>8, a.Port()&255), "%a", a.Addr().String(), "%n", fmt.Sprint(a.Port())).Replace(line)
	if !strings.HasSuffix(line, "\n") {
		line += "\r\n"
	}
	return line
}

// addresses match what may change in a line: numbers separated by commas or dots.
var addresses = regexp.MustCompile(`\d+([,.]\d+)*`)

// longNumbers match the address and the port of RFC 1639, for IPv4.
var longNumbers = regexp.MustCompile(`4,4,((?:\d+,){3}\d+),2,(\d+,\d+)`)

// findAddress finds the announced address in a translated line.
func findAddress(line string, peer netip.Addr) (netip.AddrPort, bool) {
	line = strings.ReplaceAll(line, ", ", ",")
	if f := longNumbers.FindStringSubmatch(line); f != nil { // LPRT, LPSV
		a, err := parseCommand("PORT " + f[1] + "," + f[2])
		return a, err == nil
	}
	if a, err := parseCommand("PORT " + numbers(line)); err == nil {
		return a, true
	}
	if a, err := parseExtended(line, peer); err == nil {
		return a, true
	}
	f := strings.Split(line, "|") // EPRT
	if len(f) < 5 {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddr(f[2])
	port, err2 := strconv.ParseUint(f[3], 10, 16)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), err == nil && err2 == nil
}

// speak sends text, which may be several lines, and returns the last of as many
// lines that the other end receives.
func (d *Dialogue) speak(text string) (heard string, err error) {
	from, to, in := d.Server, d.Client, d.heardByClient
	if strings.HasPrefix(text, "C: ") {
		from, to, in = d.Client, d.Server, d.heardByServer
	}
	text = text[3:]
	if _, err := io.WriteString(from, text); err != nil {
		return "", err
	}
	to.SetReadDeadline(time.Now().Add(dropTime))
	return readLines(in, strings.Count(text, "\n"))
}

func readLines(in *bufio.Reader, n int) (string, error) {
	var all strings.Builder
	for range n {
		line, err := in.ReadString('\n')
		if err != nil {
			return all.String(), err
		}
		all.WriteString(line)
	}
	return strings.TrimRight(all.String(), "\r\n"), nil
}
