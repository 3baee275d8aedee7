// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRefusal: an error is read from the socket, a packet is not.
func TestRefusal(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	say := func(typ uint16, errno unix.Errno) {
		b := binary.NativeEndian.AppendUint32(nil, 36)
		b = binary.NativeEndian.AppendUint16(b, typ)
		b = append(b, make([]byte, 10)...)
		b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
		if _, err := unix.Write(pair[1], append(b, make([]byte, 16)...)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, want error) {
		t.Helper()
		if err := refusal(pair[0]); err != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	want("nothing", nil)
	say(unix.NLMSG_ERROR, unix.EPERM)
	want("an error", unix.EPERM)
	say(nfqnlMsgPacket, 0)
	want("a packet", nil)
	want("the same packet", nil)
	if n, err := unix.Read(pair[0], make([]byte, 64)); n != 36 || err != nil {
		t.Errorf("the packet is gone: %d bytes, %v", n, err)
	}
}

// TestKernelBindUnderLoad: packets that are queued as soon as the queue is bound,
// before the kernel has confirmed that, are neither an error nor lost.
func TestKernelBindUnderLoad(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	for range 2 {
		c, err := net.Dial("udp4", "127.0.0.1:2121")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer c.Close()
			for !stop.Load() {
				_, _ = c.Write([]byte("x")) // refused: no one listens
			}
		})
	}
	failed := 0
	for range 1000 {
		q, err := Open(Config{Num: testQueue})
		if err != nil {
			failed++
			t.Log(err)
			continue
		}
		q.Close()
	}
	if failed > 0 {
		t.Errorf("%d of 1000 binds failed", failed)
	}
}
