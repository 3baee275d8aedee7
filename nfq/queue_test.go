// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"errors"
	"fmt"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"net"
	"net/netip"
	"os"
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
			if s := packetsOf(q); s != (Stats{Packets: 2}) {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// TestKernelAcceptData replaces payloads with shorter, equal and longer ones. The
// kernel verifies the TCP checksum of a packet that was replaced in a verdict,
// even on loopback; TestKernelChecksum shows that.
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

// TestKernelRepeat sends a packet through its chain once more, expired, and
// restores its time to live when it returns.
func TestKernelRepeat(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			newNamespace(t)
			queueRules(t)
			q := openQueue(t, Config{})
			var buf []byte
			var expired []bool
			stop := startRun(t, q, funcHandler{packet: func(p *Packet) {
				expired = append(expired, p.Expired())
				var err error
				if !p.Expired() {
					if buf, err = AppendExpired(buf[:0], p); err == nil {
						err = q.RepeatData(p.ID, buf)
					}
				} else {
					Renew(p)
					if buf, err = AppendSpliced(buf[:0], p, p.Payload); err == nil {
						err = q.AcceptData(p.ID, buf)
					}
				}
				if err != nil {
					t.Error(err)
				}
			}})
			client, server := connect(t, listen(t, host))
			send(t, client, server, "NOOP", "NOOP")
			stop()
			if len(expired) != 2 || expired[0] || !expired[1] {
				t.Errorf("expired: %v, want the second time only", expired)
			}
		})
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

// TestKernelNoRights opens a queue without CAP_NET_ADMIN: EPERM, without mention
// of another process.
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

// TestKernelMalformed queues UDP, which is counted, and accepted by a queue that
// fails open: a later datagram arrives in any case.
func TestKernelMalformed(t *testing.T) {
	for _, open := range []bool{true, false} {
		t.Run(fmt.Sprint("open ", open), func(t *testing.T) {
			newNamespace(t)
			queueRules(t)
			q := openQueue(t, Config{FailOpen: open})
			stop := startRun(t, q, funcHandler{packet: func(p *Packet) { t.Errorf("decoded: %+v", p) }})
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
			want := "datagram"
			if !open {
				want = "behind"
				for q.Stats().Malformed == 0 {
					time.Sleep(time.Millisecond)
				}
				stop()
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				withoutQueue(t)
				if _, err := client.Write([]byte(want)); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 100)
			server.SetDeadline(time.Now().Add(patience))
			if n, _, err := server.ReadFrom(buf); err != nil || string(buf[:n]) != want {
				t.Errorf("got %q, %v, want %q", buf[:n], err, want)
			}
			if !open {
				return
			}
			if s := packetsOf(q); s != (Stats{Packets: 1, Malformed: 1}) {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

// withoutQueue removes the rules of queueRules.
func withoutQueue(t *testing.T) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	c.FlushRuleset()
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// packetsOf are the counters of a queue without system calls.
func packetsOf(q *Queue) Stats {
	s := q.Stats()
	s.Receives, s.Sends = 0, 0
	return s
}

// TestKernelPort: the netlink port of a socket that is being closed may be
// assigned to another one before the kernel informs its subsystems of the end,
// and nfnetlink_queue then removes the other one's queue. That port is the
// process id, which the first socket of a process gets, and the next first one
// after its end.
func TestKernelPort(t *testing.T) {
	newNamespace(t)
	for range 10 {
		c, err := nftables.New(nftables.AsLasting())
		if err != nil {
			t.Fatal(err)
		}
		// What nftables deletes delays the end of a socket: time for the
		// collision.
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "gone"})
		chain := c.AddChain(&nftables.Chain{Name: "gone", Table: table})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Counter{}}})
		if err := c.Flush(); err != nil {
			t.Skipf("no nftables: %v", err)
		}
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- c.CloseLasting() }()
		time.Sleep(time.Millisecond) // it is closed now, or is about to be
		q := openQueue(t, Config{})
		if err := <-closed; err != nil {
			t.Error(err)
		}
		all, err := ReadQueueStats()
		if err != nil || len(all) != 1 || all[0].Num != testQueue {
			t.Fatalf("queues %+v, %v, want %d", all, err, testQueue)
		}
		if all[0].PortID == uint32(os.Getpid()) {
			t.Errorf("the queue's socket has the process id for its port")
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestKernelUnknownID gives a verdict on a packet that does not exist.
func TestKernelUnknownID(t *testing.T) {
	newNamespace(t)
	q := openQueue(t, Config{})
	if err := q.Drop(4711); err != nil {
		t.Error(err)
	}
	startRun(t, q, funcHandler{packet: func(p *Packet) { t.Errorf("packet %+v", p) }})
	eventually(t, "the kernel's refusal is counted", func() bool { return q.Stats().Errors == 1 })
}

// holder keeps the first packet of each of three connections, and releases them
// in reverse order, one for each Wake. It drops retransmissions.
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
