// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// lane is a queue with its worker.
type lane struct {
	worker *worker
	queue  queue
	ct     conntrack
}

// lanes are the lanes of all queues.
type lanes []*lane

// close closes the sockets.
func (ls lanes) close() {
	for _, l := range ls {
		if l.queue != nil {
			l.queue.Close()
		}
		if l.ct != nil {
			l.ct.Close()
		}
	}
}

// alive reports whether each worker has given a sign of life within a time before
// now.
func (ls lanes) alive(now time.Time, within time.Duration) bool {
	for _, l := range ls {
		if !l.worker.heart.alive(now, within) {
			return false
		}
	}
	return true
}

// workerOf returns the worker that has a session, nil if none has.
func (ls lanes) workerOf(s *session.Session) *worker {
	for _, l := range ls {
		if l.worker.table.Find(s.Original()) == s {
			return l.worker
		}
	}
	return nil
}

// mark marks the queue that gets the packets of an entry; zero: no queue is open yet.
func (ls lanes) mark(id uint32) uint32 {
	if len(ls) == 0 {
		return 0
	}
	return ls[rules.QueueOf(id, len(ls))].queue.Mark()
}

// tellSoon tells the other firewall what is open of a session: it was used, or
// stays for longer, which no packet shows.
func (ls lanes) tellSoon(s *session.Session) {
	if w := ls.workerOf(s); w != nil {
		w.teller.soon(s, w.queue.Interrupt)
	}
}

// tellLate tells the other firewall everything that was to be told later, when
// the workers' goroutines have ended.
func (ls lanes) tellLate() {
	for _, l := range ls {
		now := time.Now()
		l.worker.teller.look(now)
		l.worker.teller.tellLate(now)
		l.worker.teller.refresh()
	}
}

// drain waits until the queues are empty, or no one empties them.
func (ls lanes) drain() {
	const most, step = 300 * time.Millisecond, 5 * time.Millisecond
	for range most / step {
		time.Sleep(step)
		waiting := uint64(0)
		for _, q := range ls.numbers() {
			waiting += q.Waiting
		}
		if waiting == 0 {
			return
		}
	}
}

// finish makes the workers, whose goroutines have ended, finish what is pending.
func (ls lanes) finish() {
	for _, l := range ls {
		l.worker.finish()
	}
}

// numbers returns the figures of all queues.
func (ls lanes) numbers() []control.Queue {
	kernel := kernelQueues()
	var list []control.Queue
	for _, l := range ls {
		list = append(list, numbersOf(l.queue, kernel))
	}
	return list
}

// numbersOf returns the figures of a queue.
func numbersOf(q queue, kernel map[uint16]nfq.QueueStats) control.Queue {
	n, k := q.Stats(), kernel[q.Num()]
	return control.Queue{
		Num: q.Num(), Packets: n.Packets, Waiting: uint64(k.Queued), Dropped: k.QueueDropped + k.UserDropped,
		ENOBUFS: n.ENOBUFS, Errors: n.Errors + n.Malformed,
	}
}

// kernelQueues returns what the kernel reports about its queues, to root only;
// what is missing is zero.
func kernelQueues() map[uint16]nfq.QueueStats {
	list, err := nfq.ReadQueueStats()
	if err != nil {
		return nil
	}
	byNum := map[uint16]nfq.QueueStats{}
	for _, q := range list {
		byNum[q.Num] = q
	}
	return byNum
}
