// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"cmp"
	"errors"
	"io"
	"math"
	"sync"
	"time"
)

const (
	// waitBound is how long a packet waits until the other daemon has what it
	// needs. One waits that long, and then none waits until the other daemon
	// answers again.
	waitBound = 25 * time.Millisecond
	// together is how long lazy messages may wait for more.
	together = 2 * time.Millisecond
	// maxQueued is how many bytes may wait to be sent.
	maxQueued = 1 << 20
)

// Urgency is how soon the other daemon must receive a message.
type Urgency int

const (
	// Lazily: in some milliseconds, together with other messages.
	Lazily Urgency = iota
	// Promptly: with the next Push, or what is awaited.
	Promptly
	// Awaited: at once, and the caller waits until the other daemon has it; see Wait.
	Awaited
)

// outbox has the messages for the link that we dialled.
type outbox struct {
	wake  chan struct{} // of capacity 1: there is something
	bound time.Duration // waitBound

	mu      sync.Mutex
	up      bool   // there is a link
	link    uint64 // its number
	told    bool   // and everything that was known was sent over it
	all     uint64 // number of the acknowledgement of that; 0: it was received
	slow    bool   // it did not answer in time, and has not answered since
	why     error  // why the link ends; nil: it does not
	soon    bool   // the writer is about to be woken
	buf     []byte // frames
	asked   uint64 // number of acknowledgements requested
	acked   uint64 // number of them received
	asking  time.Time
	waiters []waiter      // the first one first
	lag     time.Duration // of the last acknowledgement
	armed   bool          // expire is about to be called
	line    *line         // nil: it is not to be written on yet
}

// waiter waits for an acknowledgement.
type waiter struct {
	n     uint64
	until time.Time
	done  chan struct{}
}

func newOutbox() outbox { return outbox{wake: make(chan struct{}, 1), bound: waitBound} }

// begin begins with a new link.
func (o *outbox) begin(l *line) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.link++
	o.up, o.told, o.slow, o.why, o.soon, o.buf = true, false, false, nil, false, o.buf[:0]
	o.asked, o.acked, o.all, o.line = 0, 0, 0, l
}

// end ends a link, and with it every wait.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up, o.line = false, nil
	for _, w := range o.waiters {
		close(w.done)
	}
	o.waiters = nil
}

func (o *outbox) isUp() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.up
}

// Receipt is the acknowledgement that is due for an awaited message. The zero value is
// due for none.
type Receipt struct {
	link, n uint64
	done    <-chan struct{} // closed when it has come; nil if there is no use in waiting
}

// add queues a message, if there is a link. Awaited it returns the acknowledgement that is
// due. Lazy messages are sent together with later ones.
func (o *outbox) add(k kind, how Urgency, parts ...[]byte) (due Receipt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.up {
		return due
	}
	if len(o.buf) > maxQueued {
		o.why = errBehind // the link is about to end
		o.signal()
		return Receipt{link: o.link, n: math.MaxUint64}
	}
	o.buf = appendFrame(o.buf, k, parts...)
	if how == Lazily && !o.soon {
		o.soon = true
		time.AfterFunc(together, o.signal)
	}
	switch {
	case how != Awaited:
		return due
	case !o.told || o.slow:
		return Receipt{link: o.link, n: o.ask()}
	}
	done := o.waiter()
	return Receipt{o.link, o.asked, done}
}

// addPage queues what a page of ours has.
func (o *outbox) addPage(g *page) {
	o.add(kindRecord, Lazily, g.at.append(nil), g.record(time.Now()))
}

// has reports whether an acknowledgement has come, or will not: its link has ended.
func (o *outbox) has(due Receipt) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return due == Receipt{} || !o.up || o.link != due.link || o.acked >= due.n
}

// flush returns a channel that is closed when the other daemon has everything
// sent so far, or nil without a link.
func (o *outbox) flush() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.up {
		return nil
	}
	o.signal()
	return o.waiter()
}

// waiter waits for everything sent so far. o.mu is held.
func (o *outbox) waiter() <-chan struct{} {
	w := waiter{o.ask(), time.Now().Add(o.bound), make(chan struct{})}
	if o.waiters = append(o.waiters, w); !o.armed {
		o.armed = true
		time.AfterFunc(o.bound, o.expire)
	}
	return w.done
}

// ask requests an acknowledgement. o.mu is held.
func (o *outbox) ask() uint64 {
	o.buf = appendFrame(o.buf, kindAsk)
	if o.asked++; o.asked == o.acked+1 {
		o.asking = time.Now()
	}
	return o.asked
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// expire ends the waits that have lasted too long.
func (o *outbox) expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for len(o.waiters) > 0 && !o.waiters[0].until.After(now) {
		close(o.waiters[0].done)
		o.waiters, o.slow = o.waiters[1:], true
	}
	if o.armed = len(o.waiters) > 0; o.armed {
		time.AfterFunc(o.waiters[0].until.Sub(now), o.expire)
	}
}

// ready returns the link if it can be written to at once: everything known was
// reported, and the other daemon answers in time.
func (o *outbox) ready() *line {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.line == nil || !o.told || o.slow || o.line.wire.raw == nil {
		return nil
	}
	return o.line
}

// beat requests an acknowledgement if none is pending, and reports whether the
// other daemon has answered within a time.
func (o *outbox) beat(now time.Time, within time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked > o.acked {
		return now.Sub(o.asking) < within
	}
	o.ask()
	o.signal()
	return true
}

// ack records that n acknowledgements were received in all, and reports whether it is
// with them that the other daemon has everything that was known when the link came up.
func (o *outbox) ack(n uint64, now time.Time) (hasAll bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n > o.asked || n < o.acked {
		return false, errFrame
	}
	if hasAll = o.all > 0 && n >= o.all; hasAll {
		o.all = 0
	}
	o.acked, o.slow, o.lag = n, false, now.Sub(o.asking)
	o.asking = now // of those that were requested later
	rest := o.waiters[:0]
	for _, w := range o.waiters {
		if w.n <= n {
			close(w.done)
			continue
		}
		rest = append(rest, w)
	}
	clear(o.waiters[len(rest):])
	o.waiters = rest
	return hasAll, nil
}

// take returns the pending frames, with other as the buffer for more, and why the link
// ends, if it does.
func (o *outbox) take(other []byte) (frames []byte, why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames, o.buf, o.soon = o.buf, other[:0], false
	return frames, o.why
}

// signalEnd lets the writer see why the link has ended.
func (o *outbox) signalEnd(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if errors.Is(why, io.EOF) || errors.Is(why, io.ErrUnexpectedEOF) {
		why = errClosed
	}
	o.why = cmp.Or(o.why, why)
	o.signal()
}

// toldAll records that everything is being sent to the other daemon, and requests an
// acknowledgement.
func (o *outbox) toldAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told, o.all = true, o.ask()
	o.signal()
}

// push sends what there is to tell now, or has the link's goroutine send it.
func (o *outbox) push() {
	l := o.ready()
	if l == nil || !l.turn.TryLock() {
		o.signal()
		return
	}
	defer l.turn.Unlock()
	if !l.wire.clear() {
		o.signal()
		return
	}
	frames, why := o.take(l.spare)
	if l.spare = frames; why != nil || len(frames) > 0 && !l.sendNow(frames) {
		o.signal()
	}
}

// run sends what is pending, whenever there is something, and checks whether the other
// daemon is alive. It returns why the link ends.
func (o *outbox) run(l *line) error {
	beat := time.NewTimer(beatEvery)
	defer beat.Stop()
	for {
		select {
		case <-o.wake:
		case now := <-beat.C:
			beat.Reset(beatEvery)
			if !o.beat(now, silence) {
				return errSilent
			}
			continue
		}
		if err := o.sendAll(l); err != nil {
			return err
		}
	}
}

// sendAll sends what is pending, and may wait.
func (o *outbox) sendAll(l *line) error {
	l.turn.Lock()
	defer l.turn.Unlock()
	frames, why := o.take(l.spare)
	if l.spare = frames; why != nil {
		return why
	}
	return l.send(frames)
}
