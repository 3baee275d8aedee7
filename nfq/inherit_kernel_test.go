// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKernelInherit: packets that arrive while no one reads the queue wait for
// the process that inherits its socket, and no other process can bind the queue
// meanwhile.
func TestKernelInherit(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	first, err := Open(Config{Num: testQueue, FailOpen: true})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenPacket("udp", "127.0.0.1:2121")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	fd, err := first.Detach()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", ln.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("wait")); err != nil {
		t.Fatal(err)
	}
	ln.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _, err := ln.ReadFrom(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes passed, %v", n, err)
	}
	if _, err := Open(Config{Num: testQueue, FailOpen: true}); !errors.Is(err, ErrQueueInUse) {
		t.Errorf("another process may bind the queue: %v", err)
	}
	second, err := Inherit(fd, Config{Num: testQueue, FailOpen: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	h := &acceptAll{q: second}
	go func() { done <- second.Run(ctx, h) }()
	ln.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := ln.ReadFrom(make([]byte, 9)); err != nil {
		t.Errorf("waiting packets are not read: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if third, err := Open(Config{Num: testQueue, FailOpen: true}); err != nil {
		t.Errorf("the queue is still bound: %v", err)
	} else {
		third.Close()
	}
}

type acceptAll struct{ q *Queue }

func (h *acceptAll) Packet(p *Packet)    { _ = h.q.Accept(p.ID) }
func (h *acceptAll) Deadline() time.Time { return time.Time{} }
func (h *acceptAll) Wake(time.Time)      {}

// TestInheritNoQueue: a descriptor of something else is refused, and closed.
func TestInheritNoQueue(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[1])
	if _, err := Inherit(p[0], Config{FailOpen: true}); err == nil {
		t.Error("a pipe was accepted as a queue")
	}
	if unix.Close(p[0]) == nil {
		t.Error("it is still open")
	}
}
