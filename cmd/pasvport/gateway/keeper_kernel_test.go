// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

const (
	manyEntries  = 10_000
	entryTimeout = 9 * time.Second
	keptFor      = 3 * entryTimeout
)

// TestKernelKeeper keeps ten thousand silent control connections with a data
// connection each over three times their timeout, and says what that costs.
func TestKernelKeeper(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	noNamespace := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays in its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			testKeeper(t)
		}
		noNamespace <- err
	}()
	if err := <-noNamespace; err != nil {
		t.Skipf("no network namespace: %v", err)
	}
}

func testKeeper(t *testing.T) {
	ct, err := expect.Dial()
	if err != nil {
		t.Error(err)
		return
	}
	defer ct.Close()
	g := &Gateway{log: slog.New(slog.DiscardHandler),
		data: dataConnections{open: map[expect.Tuple]dataConnection{}, live: newLiveData()}}
	if err := makeEntries(g, ct); err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), keptFor)
	defer cancel()
	before := processorTime()
	if err := g.keepEntries(ctx); err != nil {
		t.Error(err)
	}
	used := processorTime() - before
	kept := 0
	if err := ct.Dump(controlBit, controlBit, func(e *expect.Entry) {
		if e.Original.Dst.Port() == 21 && e.Timeout > 0 {
			kept++
		}
	}); err != nil {
		t.Error(err)
	}
	if kept != manyEntries {
		t.Errorf("%d of %d control entries are left after %v", kept, manyEntries, keptFor)
	}
	t.Logf("%d entries with a timeout of %v: %.1f %% of a processor", manyEntries, entryTimeout, 100*used.Seconds()/keptFor.Seconds())
}

const controlBit = 0x04000000

// makeEntries makes control connections with a data connection each.
func makeEntries(g *Gateway, ct *expect.Conn) error {
	client, server := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("203.0.113.2")
	for i := range manyEntries {
		from := netip.AddrPortFrom(client, uint16(20000+i))
		x := expect.Forgotten{Original: expect.Tuple{Src: from, Dst: netip.AddrPortFrom(server, 21)},
			Mark: controlBit, Timeout: entryTimeout}
		if err := ct.Restore(x); err != nil {
			return err
		}
		e, err := ct.Get(x.Original)
		if err != nil {
			return err
		}
		data := expect.Tuple{Src: from, Dst: netip.AddrPortFrom(server, 5000)}
		if err := ct.Claim(expect.Claim{Original: data, Master: x.Original, Timeout: time.Hour}); err != nil {
			return err
		}
		g.data.add(data, newSession(&e, &ftpalg.Policy{}, time.Now(), true, nil), nil)
	}
	return nil
}

func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
