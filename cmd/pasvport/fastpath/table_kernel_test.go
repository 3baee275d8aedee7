// SPDX-License-Identifier: Apache-2.0

package fastpath

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pasvport/pasvport/ftpalg"
)

var noop = []byte("NOOP\r\n")

// TestArmedWhileRunning arms and stops a connection while lines of both
// directions, and repeated ones, run through the filter on all processors. Each
// line that passed must be reported once, and the numbers must continue from the
// reported ones.
func TestArmedWhileRunning(t *testing.T) {
	table := load(t)
	const want = 100
	var passed [2]atomic.Int64
	var done atomic.Bool
	var wg sync.WaitGroup
	defer func() { done.Store(true); wg.Wait() }()
	lines := [2][]byte{noop, []byte("200 fine\r\n")}
	for d := range lines {
		wg.Go(func() {
			p := packet{ends: ends4[d], flags: flagACK, payload: lines[d]}
			for !done.Load() {
				if passes(t, table, &p) {
					p.seq += uint32(len(p.payload))
					passed[d].Add(1)
				}
			}
		})
	}
	wg.Go(func() { // one that always disarms
		p := packet{ends: ends4[0], flags: flagACK, seq: 1 << 31, payload: noop}
		for !done.Load() {
			passes(t, table, &p)
		}
	})
	var c Conn
	var u ftpalg.Unread
	var told [2]uint32
	for passed[0].Load() < want || passed[1].Load() < want {
		if err := c.Arm(table, ends4, &u, time.Now()); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < 100 && atomic.LoadUint32(&table.slot(c.index).state)&armed != 0; i++ {
			runtime.Gosched()
		}
		for _, get := range []func(*ftpalg.Unread) bool{c.Look, c.Look, c.Stop} {
			var now ftpalg.Unread
			if !get(&now) {
				continue
			}
			for d := range told {
				told[d] += now.Lines[d]
				if now.Next[d] != told[d]*uint32(len(lines[d])) {
					t.Fatalf("direction %d is at %d after %d lines", d, now.Next[d], told[d])
				}
			}
			u = ftpalg.Unread{Next: now.Next, Phase: now.Phase}
		}
	}
	done.Store(true)
	wg.Wait()
	for d := range told {
		if int64(told[d]) != passed[d].Load() {
			t.Errorf("direction %d: %d lines passed, %d were reported", d, passed[d].Load(), told[d])
		}
	}
	if n := passed[0].Load() + passed[1].Load(); table.Lines() != uint64(n) {
		t.Errorf("%d lines were counted, %d passed", table.Lines(), n)
	}
}

// TestDaemonGone: when no one has the array open any more, the kernel empties it,
// and nothing passes although the slot is armed and a rule still runs the
// program.
func TestDaemonGone(t *testing.T) {
	table := load(t)
	var c Conn
	if err := c.Arm(table, ends4, &ftpalg.Unread{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	p := packet{ends: ends4[0], flags: flagACK, payload: noop}
	if !passes(t, table, &p) {
		t.Fatal("a line does not pass")
	}
	table.array.Close()
	for deadline := time.Now().Add(10 * time.Second); ; { // the kernel does it a moment later
		if err := c.Arm(table, ends4, &ftpalg.Unread{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if !passes(t, table, &p) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("lines pass without a daemon")
		}
	}
}

// TestEnd: a connection that has ended is not armed again, and its slot is not
// reused at once.
func TestEnd(t *testing.T) {
	table := load(t)
	now := time.Now()
	p := packet{ends: ends4[0], flags: flagACK, payload: noop}
	var a, b, c Conn
	other := ends("192.0.2.1:40001", "198.51.100.1:21")
	for _, arm := range []error{a.Arm(table, ends4, &ftpalg.Unread{}, now), a.End(ends4, now),
		a.Arm(table, ends4, &ftpalg.Unread{}, now), b.Arm(table, other, &ftpalg.Unread{}, now)} {
		if arm != nil {
			t.Fatal(arm)
		}
	}
	if passes(t, table, &p) {
		t.Error("a line of a connection that has ended passes")
	}
	if b.index == 0 {
		t.Error("a slot is used again at once")
	}
	if err := c.Arm(table, ends4, &ftpalg.Unread{}, now.Add(restTime)); err != nil || c.index != 0 {
		t.Errorf("slot %d, %v; want the one that was given back", c.index, err)
	}
	if !passes(t, table, &p) {
		t.Error("a line does not pass")
	}
	if c.Disarm(); passes(t, table, &packet{ends: ends4[1], flags: flagACK, payload: []byte("200 ok\r\n")}) {
		t.Error("a line of a connection that is not armed passes")
	}
	var u ftpalg.Unread
	if !c.Stop(&u) || u.Lines != [2]uint32{1, 0} || u.Phase != ftpalg.PhaseAsked {
		t.Errorf("reported %+v", u)
	}
	if c.Stop(&u) {
		t.Error("reported twice")
	}
	if err := c.Arm(table, ends4, &ftpalg.Unread{}, now); err != nil || !passes(t, table, &p) {
		t.Fatal("a line does not pass", err)
	}
	if err := c.End(ends4, now); err != nil {
		t.Error(err)
	}
	if !c.Stop(&u) || u.Lines != [2]uint32{1, 0} || c.Stop(&u) {
		t.Errorf("reported after the end: %+v", u)
	}
}

// TestMostLines: after this many lines one is queued again.
func TestMostLines(t *testing.T) {
	table := load(t)
	var c Conn
	if err := c.Arm(table, ends4, &ftpalg.Unread{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	p := [2]packet{{ends: ends4[0], flags: flagACK, payload: noop}, {ends: ends4[1], flags: flagACK, payload: []byte("200 ok\r\n")}}
	for i := range mostLines + 1 {
		q := &p[i%2]
		if passes(t, table, q) != (i < mostLines) {
			t.Fatalf("line %d", i)
		}
		q.seq += uint32(len(q.payload))
	}
}

// BenchmarkFilter measures the time of a line of average length in the kernel.
func BenchmarkFilter(b *testing.B) {
	table := load(b)
	var c Conn
	p := packet{ends: ends4[0], flags: flagACK, payload: []byte("RETR pub/debian/dists/bookworm/main/binary-amd64/Packages.xz\r\n")}
	for b.Loop() {
		if err := c.Arm(table, ends4, &ftpalg.Unread{}, time.Now()); err != nil {
			b.Fatal(err)
		}
		passes(b, table, &p)
	}
	c.Arm(table, ends4, &ftpalg.Unread{}, time.Now())
	_, d, err := table.entrance.Benchmark(p.frame(), 1_000_000, nil)
	b.ReportMetric(float64(d.Nanoseconds()), "ns/packet")
	if err != nil {
		b.Fatal(err)
	}
}

// TestNoAllocations: the daemon's work for each queued packet of a connection
// that has its slot costs no memory, and no system call.
func TestNoAllocations(t *testing.T) {
	table := load(t)
	var c Conn
	var u ftpalg.Unread
	now := time.Now()
	if err := c.Arm(table, ends4, &u, now); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		var passed ftpalg.Unread
		if c.Stop(&passed) || c.Arm(table, ends4, &u, now) != nil {
			t.Error("something passed, or the connection cannot be armed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
