// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"context"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/integration/stage"
)

const (
	manyEntries  = 3000 // a busy machine makes them, and looks at all of them, in a third of entryTimeout
	entryTimeout = 9 * time.Second
	keptFor      = 3 * entryTimeout
)

// TestKernelRefresher keeps three thousand silent control connections with a data
// connection each over three times their timeout, and reports what that costs.
func TestKernelRefresher(t *testing.T) {
	stage.Alone(t, func() error { return testRefresher(t) })
}

// kernelControl is a control connection in the kernel.
type kernelControl struct {
	original expect.Tuple
	id       uint32
	data     expect.Tuple
}

func (c *kernelControl) Entry() (expect.Tuple, uint32) { return c.original, c.id }

// kernelTransfers have one live data connection for each control connection.
type kernelTransfers struct {
	mu  sync.Mutex
	due []*kernelControl
}

func (k *kernelTransfers) Wake() <-chan struct{} { return nil }

func (k *kernelTransfers) Due() []*kernelControl {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.due
	k.due = nil
	return list
}

func (k *kernelTransfers) Live(c *kernelControl) []expect.Tuple { return []expect.Tuple{c.data} }
func (k *kernelTransfers) Ended(expect.Tuple, *kernelControl)   {}

func testRefresher(t *testing.T) error {
	ct, err := expect.Dial()
	if err != nil {
		return err
	}
	defer ct.Close()
	k := &kernelTransfers{}
	if k.due, err = makeEntries(ct); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), keptFor)
	defer cancel()
	before := processorTime()
	r := Refresher[*kernelControl]{Conntrack: ct, Transfers: k, Failed: func(c *kernelControl, err error) { t.Error(c.original, err) }}
	if err := r.Run(ctx); err != nil {
		return err
	}
	used := processorTime() - before
	kept := 0
	if err := ct.DumpTo([]expect.PortRange{{Low: 21, High: 21}}, func(e *expect.Entry) {
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
	return nil
}

// makeEntries makes control connections with a data connection each.
func makeEntries(ct *expect.Conn) (list []*kernelControl, err error) {
	client, server := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("203.0.113.2")
	for i := range manyEntries {
		from := netip.AddrPortFrom(client, uint16(20000+i))
		x := expect.Forgotten{Original: expect.Tuple{Src: from, Dst: netip.AddrPortFrom(server, 21)},
			Timeout: entryTimeout}
		if err := ct.Restore(x); err != nil {
			return nil, err
		}
		e, err := ct.Get(x.Original)
		if err != nil {
			return nil, err
		}
		c := &kernelControl{original: x.Original, id: e.ID, data: expect.Tuple{Src: from, Dst: netip.AddrPortFrom(server, 5000)}}
		if err := ct.Claim(expect.Claim{Original: c.data, Master: x.Original, Timeout: time.Hour}); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
