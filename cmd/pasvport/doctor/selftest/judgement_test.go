// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// A loop is a host, or two, on the loopback, with a firewall between them as a test has
// it.
type loop struct {
	control netip.AddrPort                                // where the server listens
	data    func(to netip.AddrPort) (*net.TCPConn, error) // opens data connections
}

var localhost = netip.MustParseAddr("127.0.0.1")

func (l *loop) Listen(local netip.AddrPort) (*net.TCPListener, error) {
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(localhost, 0)))
	if err == nil && !local.IsValid() {
		l.control = ln.Addr().(*net.TCPAddr).AddrPort()
	}
	return ln, err
}

func (l *loop) Dial(_, remote netip.AddrPort, _ time.Duration) (*net.TCPConn, error) {
	if remote.Port() == controlPort(config.Default()) {
		return open(l.control)
	}
	return l.data(remote)
}

func open(to netip.AddrPort) (*net.TCPConn, error) {
	return net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
}

// silence is a firewall that drops.
func silence(netip.AddrPort) (*net.TCPConn, error) {
	return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
}

// through opens a data connection whose bytes are changed on the way.
func through(change func([]byte) []byte) func(netip.AddrPort) (*net.TCPConn, error) {
	return func(to netip.AddrPort) (*net.TCPConn, error) {
		far, err := open(to)
		if err != nil {
			return nil, err
		}
		ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(localhost, 0)))
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		near, err := open(ln.Addr().(*net.TCPAddr).AddrPort())
		if err != nil {
			return nil, err
		}
		middle, err := ln.AcceptTCP()
		if err != nil {
			return nil, err
		}
		for _, way := range [][2]*net.TCPConn{{middle, far}, {far, middle}} {
			go func() {
				b, _ := io.ReadAll(way[0])
				_, _ = way[1].Write(change(b))
				_ = way[1].CloseWrite()
			}()
		}
		return near, nil
	}
}

// newLoop is a test whose hosts are on the loopback.
func newLoop(t *testing.T, data func(netip.AddrPort) (*net.TCPConn, error)) *test {
	t.Helper()
	l := &loop{data: data}
	x := &test{cfg: config.Default(), network: new(network), client: l, outside: l}
	var err error
	if x.server, err = startServer(l, controlPort(x.cfg)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.server.close)
	return x
}

// TestTransferJudged: a transfer is good if each byte arrives, both ways, and is what
// its data connection makes of it; a firewall without pasvport is good if no data connection opens.
func TestTransferJudged(t *testing.T) {
	half := func(b []byte) []byte { return b[:len(b)/2] }
	flipped := func(b []byte) []byte {
		if len(b) > 0 {
			b[len(b)/3] ^= 1
		}
		return b
	}
	longer := func(b []byte) []byte {
		if len(b) > 0 {
			b = append(b, 'x')
		}
		return b
	}
	same := func(b []byte) []byte { return b }
	for _, tt := range []struct {
		name         string
		data         func(netip.AddrPort) (*net.TCPConn, error)
		fetch, store string // the error of either has this; empty: there is none
		refused      bool   // with the strict firewall alone this is as it should be
	}{
		{"everything passes", open, "", "", false},
		{"everything passes, by way of another", through(same), "", "", false},
		{"data are dropped", silence, "the data connection was not opened", "the data connection was not opened", true},
		{"half of it arrives", through(half), "fetched 131072 bytes, 262144 were sent", "stored 131072 bytes, 262144 were sent", false},
		{"a bit is another", through(flipped), "fetched 262144 bytes, 262144 were sent", "stored 262144 bytes, 262144 were sent", false},
		{"a byte more", through(longer), "fetched 262145 bytes", "stored 262145 bytes", false},
	} {
		for _, verb := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
			active := verb == "PORT" || verb == "EPRT"
			if tt.refused && active {
				continue // the client waits for its whole patience
			}
			t.Run(tt.name+"/"+verb, func(t *testing.T) {
				t.Parallel()
				x := newLoop(t, tt.data)
				if !active { // how long it waits for the other end is no part of this
					failure, err := x.refused(verb)
					switch {
					case tt.refused && (failure == nil || err != nil):
						t.Errorf("refused: %v, %v", failure, err)
					case !tt.refused && (failure != nil || err == nil):
						t.Errorf("not refused: %v, %v", failure, err)
					case tt.fetch == "" && !errors.Is(err, errNotRefused):
						t.Errorf("not refused, and the reason is %v", err)
					}
				}
				c, err := login(x.client, x.address(server4), transferTimeout)
				if err != nil {
					t.Fatal(err)
				}
				wants(t, "fetch", c.fetch(verb, x.server.file), tt.fetch)
				c.close()
				if c, err = login(x.client, x.address(server4), transferTimeout); err != nil {
					t.Fatal(err)
				}
				defer c.close()
				wants(t, "store", c.store(verb, x.server, bytes.Repeat([]byte("abc"), fileSize)[:fileSize]), tt.store)
				_, err = x.transfer(server4, verb)
				if want := tt.fetch; want != "" {
					want = "fetch: " + want
					wants(t, "transfer", err, want)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func wants(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// TestKnock: only silence is a blocked door. Whoever answers, even to refuse, was
// reached; what cannot be tried proves nothing.
func TestKnock(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string // what the step says of it; empty: it is good
	}{
		{"silence", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, ""},
		{"it opens", nil, "198.51.100.66 -> 192.0.2.2:4000 got through"},
		{"a closed port", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}, "got through to a closed port"},
		{"no route", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.ENETUNREACH)}, "unreachable"},
		{"no descriptors", unix.EMFILE, "too many open files"},
		{"the kernel's own timeout", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.ETIMEDOUT)}, ""},
	} {
		x := &test{outside: &loop{data: func(netip.AddrPort) (*net.TCPConn, error) { return nil, tt.err }}}
		x.knock(tt.name, stranger4, netip.MustParseAddrPort("192.0.2.2:4000"))
		if s := x.Steps[0]; s.OK != (tt.want == "") || !strings.Contains(s.Error, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, s, tt.want)
		}
	}
}

// TestStep: a failed step has its error in one line and the end of the daemon's log.
func TestStep(t *testing.T) {
	x := &test{daemon: new(daemon)}
	for i := range tailLines + 5 {
		x.daemon.note(fmt.Sprint("line ", i))
	}
	if !x.step("good", func() (string, error) { return "seen", nil }) || x.step("bad", func() (string, error) { return "", errors.New("one\n\ttwo") }) {
		t.Error("what a step returns is not its outcome")
	}
	if s := x.Steps[0]; !s.OK || s.Error != "" || s.Log != nil {
		t.Errorf("%+v", s)
	}
	if s := x.Steps[1]; s.OK || s.Error != "one two" || len(s.Log) != tailLines || s.Log[0] != "line 5" || s.Log[tailLines-1] != "line 12" {
		t.Errorf("%+v", s)
	}
	if x.Fine() {
		t.Error("the report is fine")
	}
	if (&Report{}).Fine() {
		t.Error("a report of nothing is fine")
	}
	var b bytes.Buffer
	x.add(Step{Name: "left out", OK: true, Skipped: "no IPv6"}, "")
	if err := x.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	const want = "ok    good\nFAIL  bad\n      one two\n      | line 5\n"
	if got := b.String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "skip  left out: no IPv6\n\n3 steps, 1 failed, 1 skipped\n") {
		t.Errorf("%s", got)
	}
}

// TestWitness: a transfer is good if its hole was reported, used and closed, all of it;
// an announcement, if a hole is open. What was reported before does not count, nor what
// is between others.
func TestWitness(t *testing.T) {
	const where = "198.51.100.2 -> 198.51.100.1:36977"
	opens, closes := happening{what: happenExpectation, opened: true, where: where}, happening{what: happenExpectation, where: where}
	element := happening{what: happenElement, opened: true, where: where}
	connects := happening{what: happenConnection, opened: true, where: "198.51.100.2:20 -> 198.51.100.1:36977"}
	other := happening{what: happenExpectation, opened: true, where: "127.0.0.1 -> 127.0.0.1:1"}
	for _, tt := range []struct {
		name          string
		before, after []happening
		open, closed  string // what is wrong; empty: nothing
	}{
		{"as it should be", nil, []happening{opens, connects, closes}, "no hole", ""},
		{"the connection is reported late", nil, []happening{opens, closes, connects}, "no hole", ""},
		{"waits", nil, []happening{opens}, "", "still open"},
		{"not closed", nil, []happening{opens, connects}, "", "still open"},
		{"one part is not closed", nil, []happening{opens, element, connects, closes}, "", "still open"},
		{"not used", nil, []happening{opens, closes}, "no hole", "reported 1 parts of its hole, or no data connection"},
		{"no hole at all", nil, []happening{connects}, "no hole", "reported 0 parts of its hole"},
		{"opened again", nil, []happening{opens, connects, closes, opens}, "", "still open"},
		{"of the transfer before", []happening{opens, connects, closes}, nil, "no hole", "reported 0 parts"},
		{"of others", nil, []happening{other}, "no hole", "reported 0 parts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &witness{more: make(chan struct{})}
				w.add(tt.before)
				mark := w.mark()
				go func() {
					for _, h := range tt.after {
						time.Sleep(100 * time.Millisecond)
						w.add([]happening{h})
					}
				}()
				time.Sleep(time.Second)
				wants(t, "open", w.open(mark), tt.open)
				wants(t, "closed", w.closed(mark), tt.closed)
			})
		})
	}
	// Reports may come while it waits.
	synctest.Test(t, func(t *testing.T) {
		w := &witness{more: make(chan struct{})}
		go func() {
			for _, h := range []happening{opens, connects, closes} {
				time.Sleep(900 * time.Millisecond)
				w.add([]happening{h})
			}
		}()
		wants(t, "closed", w.closed(0), "")
	})
}

// TestShowLog: long log lines are broken between words, and nothing of them is lost.
func TestShowLog(t *testing.T) {
	for _, line := range []string{
		"", "short", strings.Repeat("word ", 100) + "end", strings.Repeat("x", 300), "a " + strings.Repeat("x", 300) + " b",
		strings.Repeat("x", logWidth) + " y", strings.Repeat("x", logWidth-1) + " y",
	} {
		var b bytes.Buffer
		newShow(&b).log([]string{line})
		if got, want := strings.Fields(b.String()), strings.Fields(line); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%q became %q", line, b.String())
		}
		for got := range strings.Lines(b.String()) {
			if got = strings.TrimPrefix(strings.TrimRight(got, "\n"), "     "); len(got) > logWidth && strings.Contains(strings.TrimSpace(got)[:logWidth-4], " ") {
				t.Errorf("a line of %d: %q", len(got), got)
			}
		}
	}
	(*show)(nil).log([]string{"to no one"})
	(*show)(nil).text("to no one")
}
