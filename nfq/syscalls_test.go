// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"net"
	"testing"
)

// TestKernelSystemCalls counts the system calls of packets: packets that wait
// together share them, a single one has one of each kind, and perhaps one receive
// in vain if it arrived while the last one was handled.
func TestKernelSystemCalls(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	const waiting = 2*receiveBatch + 5
	servers := overflow(t, waiting)
	seen := 0
	startRun(t, q, funcHandler{packet: func(p *Packet) { seen++; _ = q.AcceptLater(p.ID) }})
	for _, s := range servers {
		read(t, s, "NOOP\r\n")
	}
	s := q.Stats()
	if s.Packets != waiting || s.Sends != 3 || s.Receives > 4 || s.Errors != 0 {
		t.Errorf("%d packets that waited: %+v, want 3 sends and at most 4 receives", waiting, s)
	}
	client, server := connect(t, listen(t, "127.0.0.2"))
	const single = 200
	for range single {
		send(t, client, server, "NOOP\r\n", "NOOP\r\n")
	}
	last := q.Stats()
	if n := last.Packets - s.Packets; n != single || last.Sends-s.Sends != single || last.Receives-s.Receives > 2*single {
		t.Errorf("%d single packets: %+v after %+v", single, last, s)
	}
}

// TestKernelVerdictOrder mixes pending verdicts with others. Each packet gets its
// own, and none is left when Run sleeps or has ended.
func TestKernelVerdictOrder(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	q := openQueue(t, Config{})
	const waiting = 3 * receiveBatch
	servers := overflow(t, waiting)
	var buf []byte
	i := 0
	stop := startRun(t, q, funcHandler{packet: func(p *Packet) {
		switch i++; {
		case i%7 == 0:
			buf, _ = AppendSpliced(buf[:0], p, p.Payload)
			_ = q.AcceptData(p.ID, buf)
		case i%5 == 0:
			_ = q.Accept(p.ID)
		case i%11 == 0:
			_ = q.AcceptLater(p.ID)
			_ = q.Flush()
		default:
			_ = q.AcceptLater(p.ID)
		}
	}})
	for _, s := range servers {
		read(t, s, "NOOP\r\n")
	}
	stop()
	if s := q.Stats(); s.Packets != waiting || s.Errors != 0 {
		t.Errorf("%+v, want %d packets and no error", s, waiting)
	}
	all, err := ReadQueueStats()
	if err == nil && (len(all) != 1 || all[0].Queued != 0) {
		t.Errorf("the kernel still waits for verdicts: %+v", all)
	}
}

// read checks what one end of a connection receives.
func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	buf := make([]byte, 100)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != want {
		t.Fatalf("got %q, %v, want %q", buf[:n], err, want)
	}
}
