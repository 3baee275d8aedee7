// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/rules"
)

// A netns is a network namespace of a test's own.
type netns struct {
	name string
	fd   int
}

var nsCount atomic.Int32

// needPrograms skips a test that the machine cannot run.
func needPrograms(t testing.TB, names ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("needs the program %s", n)
		}
	}
}

// newNS makes a namespace that lives as long as the test.
func newNS(t testing.TB) netns {
	t.Helper()
	needPrograms(t, "ip", "nft")
	n := netns{name: fmt.Sprintf("pvp-walk-%d-%d", os.Getpid(), nsCount.Add(1))}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Skipf("cannot make network namespaces: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", n.name).CombinedOutput(); err != nil {
			t.Errorf("ip netns del %s: %v: %s", n.name, err, out)
		}
	})
	fd, err := unix.Open("/run/netns/"+n.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	n.fd = fd
	n.run(t, "ip", "link", "set", "lo", "up")
	t.Cleanup(func() {
		if t.Failed() {
			ruleset, _ := n.try("nft", "list", "ruleset")
			entries, _ := n.try("conntrack", "-L")
			expected, _ := n.try("conntrack", "-L", "expect")
			t.Logf("%s:\n%s\n%s\n%s", n.name, ruleset, entries, expected)
		}
	})
	return n
}

// try runs a program in n and returns what it printed.
func (n netns) try(args ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"netns", "exec", n.name}, args...)...).CombinedOutput()
	return string(out), err
}

// run is try for programs that must succeed.
func (n netns) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := n.try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// load feeds text to nft in n.
func (n netns) load(t testing.TB, text string) {
	t.Helper()
	if out, err := n.nft(text); err != nil {
		t.Fatalf("nft -f: %v\n%s\n%s", err, out, numbered(text))
	}
}

func (n netns) nft(text string, flags ...string) (string, error) {
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.name, "nft", "-f", "-"}, flags...)...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func numbered(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = fmt.Sprintf("%3d %s", i+1, lines[i])
	}
	return strings.Join(lines, "\n")
}

// do is enter for what must succeed.
func (n netns) do(t testing.TB, f func() error) {
	t.Helper()
	if err := n.enter(f); err != nil {
		t.Fatalf("in %s: %v", n.name, err)
	}
}

// enter runs f on a thread that is in n and is not given back.
func (n netns) enter(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

var forward = ChainRef{Family: FamilyINet, Table: "filter", Chain: "forward"}

// testQueue is the kind of queue this kernel has.
func testQueue(t testing.TB, n netns) (kind rules.QueueKind) {
	t.Helper()
	n.do(t, func() error {
		f, err := rules.Probe()
		if err == nil && !f.NativeQueue {
			kind = rules.QueueXT
		}
		return err
	})
	return kind
}

// installed opens a Firewall in n for the length of the test, and installs.
func installed(t testing.TB, n netns, c Config) *rules.Firewall {
	t.Helper()
	c.NetNS = n.fd
	f, err := rules.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Install(); err != nil {
		t.Fatal(err)
	}
	return f
}

func appendAttr(b []byte, typ uint16, v []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(v)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
func appendString(b []byte, typ uint16, s string) []byte {
	return appendAttr(b, typ, append([]byte(s), 0))
}
func appendUint16(b []byte, typ uint16, v uint16) []byte {
	return appendAttr(b, typ, binary.BigEndian.AppendUint16(nil, v))
}
