// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

const (
	testQueue = 77
	testPort  = 2121
	patience  = 10 * time.Second
)

// newNamespace moves the test, with the thread that it locks from now on, into a
// network namespace of its own with lo up. The namespace ends with the thread,
// which ends with the test, and the sockets opened in it.
func newNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skip("needs CAP_SYS_ADMIN for a network namespace")
		}
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// queueRules queues TCP to and from testPort if it has payload, and UDP to
// testPort:
//
//	table inet test { chain out { type filter hook output priority mangle
//	  tcp dport 2121 @ih,0,8 queue to 77
//	  tcp sport 2121 @ih,0,8 queue to 77
//	  udp dport 2121 queue to 77
//	}}
//
// with the NFQUEUE target of xtables in place of the queue statement, which not
// every kernel has.
func queueRules(t testing.TB) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "test"})
	chain := c.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle})
	info := xt.Unknown{testQueue, 0, 1, 0, 0, 0, 0, 0} // struct xt_NFQ_info_v3: number, total, flags
	target := &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
	rule := func(proto byte, portOffset uint32, more ...expr.Any) {
		exprs := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, testPort)},
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(append(exprs, more...), target)})
	}
	const innerHeader = 3 // NFT_PAYLOAD_INNER_HEADER: fails where there is no payload
	payload := &expr.Payload{DestRegister: 1, Base: innerHeader, Offset: 0, Len: 1}
	rule(unix.IPPROTO_TCP, 2, payload)
	rule(unix.IPPROTO_TCP, 0, payload)
	rule(unix.IPPROTO_UDP, 2)
	if err := c.Flush(); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("kernel lacks nftables, xt target NFQUEUE or inner header match: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// openQueue binds testQueue until the test ends.
func openQueue(t testing.TB, c Config) *Queue {
	t.Helper()
	c.Num = testQueue
	q, err := Open(c)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		t.Skipf("kernel lacks nfnetlink_queue: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("queue: %+v", q.Stats())
		}
	})
	return q
}

// startRun runs q until the returned function is called, or the test ends.
func startRun(t testing.TB, q *Queue, h Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx, h) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// idleHandler is a Handler without deadlines.
type idleHandler struct{}

func (idleHandler) Deadline() time.Time { return time.Time{} }
func (idleHandler) Wake(time.Time)      {}

// funcHandler is a Handler made of functions.
type funcHandler struct {
	idleHandler
	packet func(*Packet)
}

func (h funcHandler) Packet(p *Packet) { h.packet(p) }

// listen opens a listener on testPort of a loopback address.
func listen(t testing.TB, host string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "2121"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect returns both ends of a TCP connection to l.
func connect(t testing.TB, l net.Listener) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	for _, c := range []net.Conn{client, server} {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

// send writes s to one end and checks that the other end receives want.
func send(t testing.TB, from, to net.Conn, s, want string) {
	t.Helper()
	if _, err := from.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(want)+100)
	n, err := to.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if string(buf[:n]) != want {
		t.Fatalf("sent %q: got %q, want %q", s, buf[:n], want)
	}
}

// eventually polls f.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}
