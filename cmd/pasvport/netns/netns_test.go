// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	n, err := New()
	if err != nil {
		t.Skip(err) // in a container that may not
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestConnected: two namespaces with a link reach one another at once, over both
// families, and through a gateway.
func TestConnected(t *testing.T) {
	a, b := newNamespace(t), newNamespace(t)
	defer a.Close()
	defer b.Close()
	must(t, a.Connect("left", b, "right"))
	for _, addrs := range [][3]string{{"192.0.2.1/24", "192.0.2.2/24", "198.51.100.1/32"}, {"2001:db8::1/64", "2001:db8::2/64", "2001:db8:1::1/128"}} {
		near, far, behind := netip.MustParsePrefix(addrs[0]), netip.MustParsePrefix(addrs[1]), netip.MustParsePrefix(addrs[2])
		must(t, a.Address("left", near))
		must(t, b.Address("right", far))
		must(t, b.Address("lo", behind))
		must(t, a.DefaultRoute(far.Addr()))
		for _, to := range []netip.Addr{far.Addr(), behind.Addr()} {
			ln, err := b.Listen(netip.AddrPortFrom(to, 0))
			must(t, err)
			at := netip.AddrPortFrom(to, ln.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port())
			c, err := a.Dial(netip.AddrPortFrom(near.Addr(), 4000), at, 10*time.Second)
			must(t, err)
			if from := c.LocalAddr().String(); from != netip.AddrPortFrom(near.Addr(), 4000).String() {
				t.Errorf("dialled from %s", from)
			}
			c.Close()
			ln.Close()
		}
	}
}

// TestClosed: what was started with a Pdeathsig ends with the namespace, and the
// namespace takes no more work.
func TestClosed(t *testing.T) {
	n := newNamespace(t)
	cmd := exec.Command("cat") // reads until it is killed
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, n.Do(cmd.Start))
	n.Close()
	if _, err := io.ReadAll(stdout); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended of itself")
	}
	stdin.Close()
	if err := n.Do(func() error { return nil }); err != errClosed {
		t.Errorf("after Close: %v", err)
	}
}
