// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
	if d := time.Since(began); d > patience {
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

// startHandler reports when Run has begun.
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

// TestKernelIdle waits for 100 ms in which a Run that has nothing to do does nothing.
// There may be some rounds before: the runtime's signals end a sleep.
func TestKernelIdle(t *testing.T) {
	newNamespace(t)
	q := openQueue(t, Config{})
	h := &startHandler{started: make(chan struct{})}
	startRun(t, q, h)
	<-h.started
	for end := time.Now().Add(patience); time.Now().Before(end); {
		before := h.asked.Load()
		time.Sleep(100 * time.Millisecond)
		if h.asked.Load() == before {
			return
		}
	}
	t.Errorf("never idle, %d rounds", h.asked.Load())
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

// BenchmarkKernelRoundTrip measures a request and its reply on loopback: without
// a queue, with both queued, queued with conntrack, and queued with their
// conntrack zone.
func BenchmarkKernelRoundTrip(b *testing.B) {
	for _, way := range []string{"direct", "queued", "tracked", "zoned"} {
		b.Run(way, func(b *testing.B) {
			newNamespace(b)
			if way == "zoned" && ProbeZones() != nil {
				b.Skip("this kernel lacks CONFIG_NETFILTER_NETLINK_GLUE_CT")
			}
			if way != "direct" {
				queueRules(b)
				if way != "queued" {
					setZone(b, 7) // or there is no entry, and no zone to report
				}
				q := openQueue(b, Config{Zones: way == "zoned"})
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

// TestKernelMark: a mark comes after the packets that were queued before it, and before
// those that are queued after it.
func TestKernelMark(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	client, server := connect(t, listen(t, "127.0.0.1"))
	var marks []uint32
	for _, line := range []string{"A", "B", "C"} {
		if _, err := client.Write([]byte(line)); err != nil { // it is queued before this returns
			t.Fatal(err)
		}
		if line == "B" {
			marks = append(marks, q.Mark(), q.Mark())
		}
	}
	var mu sync.Mutex
	seen := map[string]uint32{}
	startRun(t, q, funcHandler{packet: func(p *Packet) {
		mu.Lock()
		if _, again := seen[string(p.Payload)]; !again {
			seen[string(p.Payload)] = q.Marked()
		}
		mu.Unlock()
		_ = q.Accept(p.ID)
	}})
	buf := make([]byte, 3)
	if _, err := io.ReadFull(server, buf); err != nil || string(buf) != "ABC" {
		t.Fatalf("%q, %v", buf, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for text, mark := range seen {
		var want uint32
		switch {
		case strings.Contains(text, "C"): // B may be sent with it
			want = marks[1]
		case text == "AB": // retransmitted
			continue
		}
		if mark != want {
			t.Errorf("%q came after mark %d, want %d", text, mark, want)
		}
	}
}
