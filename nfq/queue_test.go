// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKernelAccept(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			newNamespace(t)
			queueRules(t)
			q := openQueue(t, Config{})
			type seen struct {
				src, dst netip.AddrPort
				hook     uint8
				payload  string
			}
			packets := make(chan seen, 10)
			startRun(t, q, funcHandler{packet: func(p *Packet) {
				packets <- seen{p.Src, p.Dst, p.Hook, string(p.Payload)}
				if err := q.Accept(p.ID); err != nil {
					t.Error(err)
				}
			}})
			client, server := connect(t, listen(t, host))
			here, there := addrPort(client.LocalAddr()), addrPort(server.LocalAddr())
			send(t, client, server, "PASV\r\n", "PASV\r\n")
			send(t, server, client, "500 no\r\n", "500 no\r\n")
			for _, want := range []seen{{here, there, HookOutput, "PASV\r\n"}, {there, here, HookOutput, "500 no\r\n"}} {
				if got := <-packets; got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
			if s := q.Stats(); s != (Stats{Packets: 2}) {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// TestKernelAcceptData replaces payloads by shorter, equal and longer ones. The
// kernel verifies the TCP checksum of a packet that came with a verdict, even
// on loopback; TestKernelChecksum shows that.
func TestKernelAcceptData(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, text := range []string{"x\r\n", "PORT 1,2,3,4,5,6\r\n", "PORT 192,168,101,102,203,204\r\n"} {
			t.Run(host, func(t *testing.T) {
				newNamespace(t)
				queueRules(t)
				q := openQueue(t, Config{})
				var buf []byte
				startRun(t, q, funcHandler{packet: func(p *Packet) {
					var err error
					if buf, err = AppendSpliced(buf[:0], p, []byte(text)); err == nil {
						err = q.AcceptData(p.ID, buf)
					}
					if err != nil {
						t.Error(err)
					}
				}})
				client, server := connect(t, listen(t, host))
				send(t, client, server, "PORT 9,9,9,9,9,9\r\n", text)
			})
		}
	}
}

// TestKernelChecksum gives a verdict with a wrong TCP checksum: the segment is
// not delivered, its retransmission with the right one is.
func TestKernelChecksum(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	var buf []byte
	packets := 0
	startRun(t, q, funcHandler{packet: func(p *Packet) {
		text := "right"
		if packets++; packets == 1 {
			text = "wrong"
		}
		var err error
		if buf, err = AppendSpliced(buf[:0], p, []byte(text)); err != nil {
			t.Error(err)
		}
		if packets == 1 {
			buf[p.tcp+16] ^= 0x55
		}
		if err := q.AcceptData(p.ID, buf); err != nil {
			t.Error(err)
		}
	}})
	client, server := connect(t, listen(t, "127.0.0.1"))
	send(t, client, server, "right", "right")
	if s := q.Stats(); s.Packets < 2 {
		t.Errorf("no retransmission: %+v", s)
	}
}

func TestKernelAcceptDataRefuses(t *testing.T) {
	newNamespace(t)
	q := openQueue(t, Config{})
	if err := q.AcceptData(1, make([]byte, maxPayloadAttr+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	if err := q.AcceptData(1, nil); !errors.Is(err, errTruncated) {
		t.Errorf("empty: %v", err)
	}
}

func TestKernelSecondBind(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	_, err := Open(Config{Num: testQueue})
	var op *OpError
	if !errors.Is(err, unix.EPERM) || !errors.Is(err, ErrQueueInUse) || !errors.As(err, &op) || op.Queue != testQueue {
		t.Errorf("second bind: %v", err)
	}
	// The first is not disturbed.
	stop := startRun(t, q, funcHandler{packet: func(p *Packet) { _ = q.Accept(p.ID) }})
	client, server := connect(t, listen(t, "127.0.0.1"))
	send(t, client, server, "NOOP\r\n", "NOOP\r\n")
	stop()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	q, err = Open(Config{Num: testQueue})
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	q.Close()
}

// TestKernelNoRights opens a queue without CAP_NET_ADMIN: EPERM, but no word of
// another process.
func TestKernelNoRights(t *testing.T) {
	newNamespace(t)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		t.Fatal(err)
	}
	caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&hdr, &caps[0]); err != nil { // of this thread, which ends with the test
		t.Fatal(err)
	}
	if q, err := Open(Config{Num: testQueue}); !errors.Is(err, unix.EPERM) || errors.Is(err, ErrQueueInUse) {
		t.Errorf("got %v, %v", q, err)
	}
}

// TestKernelMalformed queues UDP, which is accepted and counted.
func TestKernelMalformed(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	startRun(t, q, funcHandler{packet: func(p *Packet) { t.Errorf("decoded: %+v", p) }})
	server, err := net.ListenPacket("udp", "127.0.0.1:2121")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := net.Dial("udp", "127.0.0.1:2121")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("datagram")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	server.SetDeadline(time.Now().Add(patience))
	if n, _, err := server.ReadFrom(buf); err != nil || string(buf[:n]) != "datagram" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	if s := q.Stats(); s != (Stats{Packets: 1, Malformed: 1}) {
		t.Errorf("stats: %+v", s)
	}
}

// TestKernelUnknownID gives a verdict on a packet that does not exist.
func TestKernelUnknownID(t *testing.T) {
	newNamespace(t)
	q := openQueue(t, Config{})
	startRun(t, q, funcHandler{packet: func(p *Packet) { t.Errorf("packet %+v", p) }})
	if err := q.Drop(4711); err != nil {
		t.Error(err)
	}
	eventually(t, "the kernel's refusal is counted", func() bool { return q.Stats().Errors == 1 })
}

// holder keeps the first packet of each of three connections, and lets them go
// in the reverse order, one for each Wake. Retransmissions it drops.
type holder struct {
	q        *Queue
	held     []uint32
	seen     map[string]bool
	deadline time.Time
	arrived  <-chan string // what the servers read
	order    chan string
	count    atomic.Int32 // packets held
	early    atomic.Int32 // calls of Wake before its time
}

func (h *holder) Packet(p *Packet) {
	if h.seen[string(p.Payload)] {
		_ = h.q.Drop(p.ID)
		return
	}
	h.seen[string(p.Payload)] = true
	h.held = append(h.held, p.ID)
	h.count.Add(1)
	if len(h.held) == 3 {
		h.deadline = time.Now().Add(20 * time.Millisecond)
	}
}

func (h *holder) Deadline() time.Time { return h.deadline }

func (h *holder) Wake(now time.Time) {
	if now.Before(h.deadline) {
		h.early.Add(1)
	}
	last := len(h.held) - 1
	_ = h.q.Accept(h.held[last])
	h.held = h.held[:last]
	select {
	case s := <-h.arrived:
		h.order <- s
	case <-time.After(patience):
		h.order <- "nothing arrived"
	}
	h.deadline = time.Time{}
	if last > 0 {
		h.deadline = now.Add(5 * time.Millisecond)
	}
}

func TestKernelHeldVerdicts(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	arrived, order := make(chan string, 3), make(chan string, 3)
	h := &holder{q: q, seen: map[string]bool{}, arrived: arrived, order: order}
	startRun(t, q, h)
	l := listen(t, "127.0.0.1")
	for i, s := range []string{"one", "two", "three"} {
		client, server := connect(t, l)
		go func() {
			buf := make([]byte, 100)
			n, _ := server.Read(buf)
			arrived <- string(buf[:n])
		}()
		if _, err := client.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		eventually(t, s+" is held", func() bool { return h.count.Load() == int32(i+1) })
	}
	for _, want := range []string{"three", "two", "one"} {
		if got := <-order; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if n := h.early.Load(); n != 0 {
		t.Errorf("woken too early %d times", n)
	}
}

// overflow opens connections and has each send its number while nobody reads
// the queue's socket. It returns the servers' ends.
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

// TestKernelOverflow fills a small receive buffer. What does not fit is counted
// like the kernel counts it, and the queue goes on: the senders repeat.
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
	// Room enough for the repeated ones, which come in bursts: a sender that is
	// unlucky a few times waits longer than we do.
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
// does not fit arrives without a verdict, because nobody gives one.
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
			if _, errno := q.receiveOne(q.fd); errno == unix.ENOBUFS {
				_, errno = q.receiveOne(q.fd) // the error comes first
				if errno != 0 {
					t.Fatal(errno)
				}
			}
			if _, errno := q.receiveOne(q.fd); errno != 0 {
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

// TestKernelRunEnds cancels Run while it sleeps, and again before it starts with
// a packet waiting, which gets its verdict.
func TestKernelRunEnds(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	h := funcHandler{packet: func(p *Packet) { _ = q.Accept(p.ID) }}
	stop := startRun(t, q, h)
	client, server := connect(t, listen(t, "127.0.0.1"))
	send(t, client, server, "NOOP\r\n", "NOOP\r\n")
	began := time.Now()
	stop()
	if d := time.Since(began); d > time.Second {
		t.Errorf("Run took %v to end", d)
	}
	if _, err := client.Write([]byte("QUIT\r\n")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.Run(ctx, h); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 100)
	if n, err := server.Read(buf); err != nil || string(buf[:n]) != "QUIT\r\n" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	// It can run once more.
	startRun(t, q, h)
	send(t, client, server, "NOOP\r\n", "NOOP\r\n")
}

func TestKernelCloseEndsRun(t *testing.T) {
	newNamespace(t)
	q := openQueue(t, Config{})
	started := make(chan struct{})
	done := make(chan error, 1)
	h := &startHandler{started: started}
	go func() { done <- q.Run(context.Background(), h) }()
	<-started
	if err := q.Run(context.Background(), h); !errors.Is(err, errRunning) {
		t.Errorf("second Run: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not end")
	}
	if err := q.Accept(1); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	_ = q.Stats()
}

// startHandler tells when Run has begun.
type startHandler struct {
	started chan struct{}
	asked   atomic.Int64
}

func (h *startHandler) Packet(*Packet) {}
func (h *startHandler) Wake(time.Time) {}
func (h *startHandler) Deadline() time.Time {
	if h.asked.Add(1) == 1 {
		close(h.started)
	}
	return time.Time{}
}

// TestKernelIdle counts the rounds of a Run that has nothing to do.
func TestKernelIdle(t *testing.T) {
	newNamespace(t)
	q := openQueue(t, Config{})
	h := &startHandler{started: make(chan struct{})}
	startRun(t, q, h)
	<-h.started
	time.Sleep(100 * time.Millisecond)
	if n := h.asked.Load(); n > 4 {
		t.Errorf("%d rounds in 100 ms", n)
	}
}

// TestKernelAllocations sends segments through a queue in which each is
// replaced; nothing on their way allocates.
func TestKernelAllocations(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	buf := make([]byte, 0, 4096)
	startRun(t, q, funcHandler{packet: func(p *Packet) {
		buf, _ = AppendSpliced(buf[:0], p, p.Payload)
		_ = q.AcceptData(p.ID, buf)
	}})
	client, server := connect(t, listen(t, "127.0.0.1"))
	line, read := []byte("NOOP\r\n"), make([]byte, 100)
	n := testing.AllocsPerRun(500, func() {
		if _, err := client.Write(line); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(read); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

// BenchmarkKernelRoundTrip is a request and its reply on loopback, without a
// queue and with both queued.
func BenchmarkKernelRoundTrip(b *testing.B) {
	for _, queued := range []bool{false, true} {
		b.Run(map[bool]string{false: "direct", true: "queued"}[queued], func(b *testing.B) {
			newNamespace(b)
			if queued {
				queueRules(b)
				q := openQueue(b, Config{})
				startRun(b, q, funcHandler{packet: func(p *Packet) { _ = q.Accept(p.ID) }})
			}
			client, server := connect(b, listen(b, "127.0.0.1"))
			client.SetDeadline(time.Time{})
			server.SetDeadline(time.Time{})
			go func() {
				buf := make([]byte, 100)
				for {
					n, err := server.Read(buf)
					if err != nil {
						return
					}
					if _, err := server.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
			line, buf := []byte("NOOP\r\n"), make([]byte, 100)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(line); err != nil {
					b.Fatal(err)
				}
				if _, err := client.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
