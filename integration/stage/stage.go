// SPDX-License-Identifier: Apache-2.0

// Package stage gives a test its own network namespaces, which are removed at its
// end. If the test fails, it prints the kernel's state in them.
package stage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace.
type Namespace struct {
	Name string // name in ip netns
	FD   int    // open until the end of the test
}

var count atomic.Int32

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

// New creates a namespace with lo up.
func New(t testing.TB) Namespace {
	t.Helper()
	Need(t, "ip", "nft")
	n := Namespace{Name: fmt.Sprintf("pvp-%s-%d-%d", filepath.Base(os.Args[0]), os.Getpid(), count.Add(1))}
	if out, err := exec.Command("ip", "netns", "add", n.Name).CombinedOutput(); err != nil {
		t.Skipf("cannot make network namespaces: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", n.Name).CombinedOutput(); err != nil {
			t.Errorf("ip netns del %s: %v: %s", n.Name, err, out)
		}
	})
	fd, err := unix.Open("/run/netns/"+n.Name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	n.FD = fd
	n.Run(t, "ip", "link", "set", "lo", "up")
	t.Cleanup(func() {
		if t.Failed() {
			n.dump(t)
		}
	})
	return n
}

// dump prints the kernel's state in the namespace.
func (n Namespace) dump(t testing.TB) {
	for _, args := range [][]string{{"nft", "list", "ruleset"}, {"conntrack", "-L"}, {"conntrack", "-L", "expect"}} {
		out, _ := n.Try(args...)
		t.Logf("%s: %s\n%s", n.Name, strings.Join(args, " "), out)
	}
}

// Try runs a program in the namespace and returns what it printed.
func (n Namespace) Try(args ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"netns", "exec", n.Name}, args...)...).CombinedOutput()
	return string(out), err
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
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.Name, "nft", "-f", "-"}, flags...)...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
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

// Do is Enter for a function that must succeed.
func (n Namespace) Do(t testing.TB, f func() error) {
	t.Helper()
	if err := n.Enter(f); err != nil {
		t.Fatalf("in %s: %v", n.Name, err)
	}
}

// Enter calls f on a thread in the namespace. The thread is not reused, as no
// other goroutine may run on it.
func (n Namespace) Enter(f func() error) error {
	return onThread(func() error { return unix.Setns(n.FD, unix.CLONE_NEWNET) }, f)
}

// Alone calls f on a thread in a nameless namespace that ends with the thread,
// for a test that needs no program in it. It skips the test if it cannot create
// one.
func Alone(t testing.TB, f func() error) {
	t.Helper()
	Need(t)
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return noNamespace{err}
		}
		return nil
	}, f)
	if none := (noNamespace{}); errors.As(err, &none) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// noNamespace reports that no namespace can be created.
type noNamespace struct{ err error }

func (n noNamespace) Error() string { return "no network namespace: " + n.err.Error() }

func onThread(enter, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		err := enter()
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
