// SPDX-License-Identifier: Apache-2.0

// Package stage gives a test its own network namespaces, which are removed at its
// end. If the test fails, it prints the kernel's state in them.
package stage

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/netns"
)

// Namespace is a network namespace for the length of a test.
type Namespace struct{ *netns.Namespace }

// Need skips a test that cannot run here: without root, or without one of the
// programs.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs the program %s", p)
		}
	}
}

// New creates a namespace with lo up. It skips the test if there can be none.
func New(t testing.TB) Namespace {
	t.Helper()
	Need(t, "nft")
	n := alone(t)
	t.Cleanup(func() {
		if t.Failed() {
			n.dump(t)
		}
	})
	return n
}

func alone(t testing.TB) Namespace {
	t.Helper()
	Need(t)
	n, err := netns.New()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(n.Close)
	if err := canReturn(n); err != nil {
		t.Skipf("cannot return from a network namespace: %v", err)
	}
	return Namespace{n}
}

// canReturn enters the namespace of the test from another one, as who opens a netlink
// socket there does. The root of a user namespace may not, unless it has its own.
func canReturn(n *netns.Namespace) error {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	return n.Enter(func() error { return unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) })
}

// Line is a client and a server with a router between them.
type Line struct{ Client, Router, Server Namespace }

// NewLine creates them with links cr to rc and sr to rs, and with addresses such as
// "192.168.77.2/24 fd77::2/64". The client has its default routes through the router;
// the server has none.
func NewLine(t testing.TB, client, inside, outside, server string) Line {
	t.Helper()
	l := Line{New(t), New(t), New(t)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.Client.Connect("cr", l.Router.Namespace, "rc"))
	must(l.Server.Connect("sr", l.Router.Namespace, "rs"))
	for _, end := range []struct {
		n           Namespace
		link, addrs string
	}{{l.Client, "cr", client}, {l.Router, "rc", inside}, {l.Router, "rs", outside}, {l.Server, "sr", server}} {
		for _, a := range strings.Fields(end.addrs) {
			must(end.n.Address(end.link, netip.MustParsePrefix(a)))
		}
	}
	for _, a := range strings.Fields(inside) {
		must(l.Client.DefaultRoute(netip.MustParsePrefix(a).Addr()))
	}
	must(errors.Join(l.Router.Sysctl("net/ipv4/ip_forward", "1"), l.Router.Sysctl("net/ipv6/conf/all/forwarding", "1")))
	return l
}

// dump prints the state of the kernel in the namespace.
func (n Namespace) dump(t testing.TB) {
	for _, args := range [][]string{{"nft", "list", "ruleset"}, {"conntrack", "-L"}, {"conntrack", "-L", "expect"}} {
		out, _ := n.Try(args...)
		t.Logf("%s\n%s", strings.Join(args, " "), out)
	}
}

// Try runs a program in the namespace and returns what it printed.
func (n Namespace) Try(args ...string) (string, error) { return n.feed("", args...) }

func (n Namespace) feed(stdin string, args ...string) (out string, err error) {
	err = n.Enter(func() error {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		b, err := cmd.CombinedOutput()
		out = string(b)
		return err
	})
	return out, err
}

// Run is Try for a program that must succeed.
func (n Namespace) Run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := n.Try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Nft pipes a text to nft -f in the namespace.
func (n Namespace) Nft(text string, flags ...string) (string, error) {
	return n.feed(text, append([]string{"nft", "-f", "-"}, flags...)...)
}

// Load is Nft for a text that must load.
func (n Namespace) Load(t testing.TB, text string) {
	t.Helper()
	if out, err := n.Nft(text); err != nil {
		t.Fatalf("nft -f: %v\n%s\n%s", err, out, Numbered(text))
	}
}

// Numbered is a text with line numbers.
func Numbered(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = fmt.Sprintf("%3d %s", i+1, lines[i])
	}
	return strings.Join(lines, "\n")
}

// In is Enter for a function that must succeed.
func (n Namespace) In(t testing.TB, f func() error) {
	t.Helper()
	if err := n.Enter(f); err != nil {
		t.Fatal(err)
	}
}

// Alone calls f on a thread in a namespace of its own. It skips the test if there can
// be none.
func Alone(t testing.TB, f func() error) {
	t.Helper()
	alone(t).In(t, f)
}
