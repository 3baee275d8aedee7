// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// overflow opens connections and sends the number of each over it while no one
// reads the queue's socket. It returns the servers' ends.
func overflow(t *testing.T, connections int) []net.Conn {
	l := listen(t, "127.0.0.1")
	var servers []net.Conn
	for range connections {
		client, server := connect(t, l)
		servers = append(servers, server)
		if _, err := client.Write([]byte("NOOP\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	return servers
}

// TestKernelOverflow fills a small receive buffer. Our count of what does not fit
// equals the kernel's, and the queue continues: the senders retransmit.
func TestKernelOverflow(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{RecvBuf: 4096})
	servers := overflow(t, 64)
	lost := q.Stats().ENOBUFS
	if lost == 0 {
		t.Fatal("nothing was lost")
	}
	all, err := ReadQueueStats()
	if err != nil {
		t.Skipf("no queue statistics: %v", err)
	}
	if len(all) != 1 || all[0].Num != testQueue || all[0].UserDropped < lost || all[0].Queued == 0 {
		t.Errorf("the kernel counts %+v, we %d", all, lost)
	}
	// Room for the retransmissions, which come in bursts: a sender that is
	// unlucky several times waits longer than we do.
	if err := setReceiveBuffer(q.fd, 1<<20); err != nil {
		t.Fatal(err)
	}
	startRun(t, q, funcHandler{packet: func(p *Packet) { _ = q.Accept(p.ID) }})
	buf := make([]byte, 100)
	for i, s := range servers {
		if n, err := s.Read(buf); err != nil || string(buf[:n]) != "NOOP\r\n" {
			t.Fatalf("connection %d: %q, %v", i, buf[:n], err)
		}
	}
}

// TestKernelFailOpen fills the socket, and in the second case the queue: what
// does not fit passes without a verdict.
func TestKernelFailOpen(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Config
	}{
		{"socket", Config{FailOpen: true, RecvBuf: 4096}},
		{"queue", Config{FailOpen: true, MaxLen: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			newNamespace(t)
			queueRules(t)
			openQueue(t, tt.in)
			const connections = 32
			servers := overflow(t, connections)
			all, err := ReadQueueStats()
			if err != nil {
				t.Skipf("no queue statistics: %v", err)
			}
			if n := all[0].Queued; n == 0 || n >= connections {
				t.Fatalf("%d of %d packets are queued", n, connections)
			}
			// The first ones fill it; the last one must have passed.
			buf := make([]byte, 100)
			if n, err := servers[connections-1].Read(buf); err != nil || string(buf[:n]) != "NOOP\r\n" {
				t.Errorf("got %q, %v", buf[:n], err)
			}
		})
	}
}

// TestKernelCongestion shows why Open sets NETLINK_NO_ENOBUFS. After an overflow
// one message is read, which makes room. With the option the next packet
// arrives; without it none does until the buffer has been emptied.
func TestKernelCongestion(t *testing.T) {
	for _, noENOBUFS := range []bool{true, false} {
		t.Run(map[bool]string{true: "no enobufs", false: "default"}[noENOBUFS], func(t *testing.T) {
			newNamespace(t)
			queueRules(t)
			q := openQueue(t, Config{RecvBuf: 16 << 10, FailOpen: true}) // fail open: no retransmissions
			value := map[bool]int{true: 1, false: 0}[noENOBUFS]
			if err := unix.SetsockoptInt(q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, value); err != nil {
				t.Fatal(err)
			}
			l := listen(t, "127.0.0.1")
			one := func() { // one packet in one new connection
				t.Helper()
				client, _ := connect(t, l)
				if _, err := client.Write([]byte("NOOP\r\n")); err != nil {
					t.Fatal(err)
				}
			}
			for i := 0; q.Stats().ENOBUFS == 0; i++ {
				if i > 1000 {
					t.Fatal("no overflow")
				}
				one()
			}
			if _, errno := q.in.receive(q.fd, 1); errno == unix.ENOBUFS {
				_, errno = q.in.receive(q.fd, 1) // the error comes first
				if errno != 0 {
					t.Fatal(errno)
				}
			}
			if _, errno := q.in.receive(q.fd, 1); errno != 0 {
				t.Fatal(errno)
			}
			before := q.Stats().ENOBUFS
			one()
			if lost := q.Stats().ENOBUFS > before; lost == noENOBUFS {
				t.Errorf("packet after the overflow lost: %v", lost)
			}
		})
	}
}
