// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
)

const (
	dialTime  = 300 * time.Millisecond // to reach the other daemon
	greetTime = 2 * time.Second        // for TLS and the first messages
	redial    = 200 * time.Millisecond // between two attempts
	beatEvery = 500 * time.Millisecond
	// aloneAfter is how long the other daemon is gone before its sessions'
	// entries are maintained here. The machine may be alive: then conntrackd
	// there recreates an entry that is changed here.
	aloneAfter = 5 * time.Second
	// silence is how long the other daemon may not answer before the link is
	// closed.
	silence = 2 * time.Second
	// bulk is how much is written at once when everything is sent.
	bulk = 64 << 10
)

var errSelf = errors.New("this daemon itself is at the other end: --peer and --peer-listen lead to one machine")

// dial keeps a link to the other daemon until ctx ends. If that has just reached
// us it can be reached.
func (p *Pair) dial(ctx context.Context) {
	d := net.Dialer{Timeout: dialTime}
	for ctx.Err() == nil {
		conn, err := d.DialContext(ctx, "tcp", p.cfg.Peer)
		if err == nil {
			err = p.hold(ctx, conn)
		}
		if ctx.Err() == nil {
			p.links.down(err)
		}
		p.start.alone()
		select {
		case <-ctx.Done():
		case <-p.reached:
		case <-time.After(redial):
		}
	}
}

// hold reports over a connection until it or ctx ends.
func (p *Pair) hold(ctx context.Context, raw net.Conn) error {
	wire := newWire(raw)
	l := &line{Conn: tls.Client(wire, p.id.config()), wire: wire}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	defer raw.Close()
	r := bufio.NewReader(l)
	if _, err := p.greet(l.Conn, r, true); err != nil {
		return err
	}
	p.out.begin(l)
	p.start.met()
	var acks sync.WaitGroup
	acks.Go(func() {
		defer raw.Close()
		p.readAcks(r)
	})
	err := p.tellAll(l)
	if err == nil {
		err = p.out.run(l)
	}
	raw.Close()
	acks.Wait()
	p.out.end()
	time.AfterFunc(p.bereft, p.alone)
	return err
}

// alone makes the host maintain the other firewall's sessions, if that is still
// gone.
func (p *Pair) alone() {
	if p.Alone() {
		p.tasks.put(p.host.Alone)
	}
}

// greet exchanges the first messages; the end that dialled begins.
func (p *Pair) greet(conn *tls.Conn, r *bufio.Reader, dialled bool) (theirs hello, err error) {
	if err := conn.SetDeadline(time.Now().Add(greetTime)); err != nil {
		return theirs, err
	}
	if err := conn.Handshake(); err != nil {
		return theirs, err
	}
	say := func() error {
		mine := p.hello
		mine.clock = uint64(time.Now().UnixMilli())
		_, err := conn.Write(appendFrame(nil, kindHello, appendHello(nil, mine)))
		return err
	}
	if dialled {
		if err := say(); err != nil {
			return theirs, err
		}
	}
	k, b, err := readFrame(r, nil)
	if err != nil {
		return theirs, err
	}
	theirs, err = parseHello(b)
	switch {
	case err != nil:
		return theirs, err
	case k != kindHello:
		return theirs, errFrame
	case theirs.instance == p.hello.instance:
		return theirs, errSelf
	}
	if !dialled { // also to a daemon with other versions: it must report that
		if err := say(); err != nil {
			return theirs, err
		}
	}
	if _, err := common(p.hello, theirs); err != nil {
		return theirs, err
	}
	return theirs, conn.SetDeadline(time.Time{})
}

// tellAll reports everything that is known. What changes meanwhile waits, and
// follows.
func (p *Pair) tellAll(l *line) error {
	l.turn.Lock()
	defer l.turn.Unlock()
	var b []byte
	for _, page := range p.book.all() {
		if b = page.frame(b, time.Now()); len(b) >= bulk {
			if err := l.send(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	p.out.toldAll()
	return l.send(appendFrame(b, kindAll))
}

// frame appends what is known of a session, as of now.
func (p *page) frame(b []byte, now time.Time) []byte {
	kind := kindReturned
	if p.ours {
		kind = kindRecord
	}
	return appendFrame(b, kind, p.at.append(nil), p.record(now))
}

// record is what is known of a session, as of now.
func (p *page) record(now time.Time) []byte {
	if k := p.known(now); k != nil && len(k.Pinholes)+len(p.uses) > 0 {
		return succession.AppendRecord(nil, &k.Record)
	}
	return p.raw
}

var (
	errSilent = errors.New("the other daemon does not answer")
	errBehind = errors.New("the other daemon does not read")
	errClosed = errors.New("the other daemon has closed the link")
)

// readAcks reads acknowledgements until the link ends.
func (p *Pair) readAcks(r *bufio.Reader) {
	var b []byte
	for {
		k, body, err := readFrame(r, b)
		if err != nil {
			p.out.signalEnd(err)
			return
		}
		if b = body; k != kindAck {
			continue
		}
		n, _, err := cutUvarint(body)
		hasAll := false
		if err == nil {
			hasAll, err = p.out.ack(n, time.Now())
		}
		if err != nil {
			p.out.signalEnd(err)
			return
		}
		if hasAll {
			p.links.up()
		}
	}
}

// listen serves the other daemon until ctx ends. It has one link at a time; a new
// one, of a restarted daemon, replaces the old one.
func (p *Pair) listen(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { p.ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(redial) // no more descriptors
			continue
		}
		p.door.enter(conn)
		wg.Go(func() {
			defer p.door.leave(conn)
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			defer conn.Close()
			if err := p.serve(conn); err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				p.links.refused(conn.RemoteAddr(), err)
			}
		})
	}
}

// serve handles what the other daemon reports over a connection.
func (p *Pair) serve(raw net.Conn) error {
	conn := tls.Server(raw, p.id.config())
	r := bufio.NewReaderSize(conn, 1<<16)
	theirs, err := p.greet(conn, r, false)
	if err != nil {
		return err
	}
	p.door.leave(raw)
	defer p.takePlace(raw, theirs.skew(time.Now()))()
	select {
	case p.reached <- struct{}{}:
	default:
	}
	asked, due := uint64(0), false
	var b []byte
	var bound time.Time
	for {
		if due && r.Buffered() == 0 { // one acknowledgement for all that came together
			due = false
			p.acknowledge(conn, asked)
		}
		// A living daemon sends beats.
		if now := time.Now(); bound.Sub(now) < silence {
			bound = now.Add(silence + beatEvery)
			if err := conn.SetReadDeadline(bound); err != nil {
				return nil
			}
		}
		k, body, err := readFrame(r, b)
		if err != nil {
			if errors.Is(err, errFrame) {
				return err
			}
			return nil
		}
		if b = body; k == kindAsk {
			asked++
			due = true
			continue
		}
		if err := p.take(k, body); err != nil {
			return fmt.Errorf("message of kind %d: %w", k, err)
		}
	}
}

// ackTime is how long an acknowledgement may take to be written. That blocks only
// if the other daemon leaves thousands unread; after a late write nothing can be
// written to TLS any more.
const ackTime = time.Second

// acknowledge acknowledges n requests once what came before was handled.
func (p *Pair) acknowledge(conn net.Conn, n uint64) {
	if p.tasks.isIdle() {
		ack(conn, n)
		return
	}
	p.tasks.add(func() { ack(conn, n) })
}

// ack acknowledges n requests. A link that ended needs none.
func ack(conn net.Conn, n uint64) {
	if conn.SetWriteDeadline(time.Now().Add(ackTime)) == nil {
		_, _ = conn.Write(appendFrame(nil, kindAck, binary.AppendUvarint(nil, n)))
	}
}

// take handles a message.
func (p *Pair) take(k kind, b []byte) error {
	switch k {
	case kindRecord, kindReturned:
		at, original, reply, raw, err := parseRecord(b)
		if err != nil {
			return err
		}
		p.learn(at, k == kindReturned, original, reply, raw)
	case kindEnded:
		at, original, _, _, err := parseRecord(b)
		if err != nil {
			return err
		}
		p.learnEnd(at, original)
	case kindAll:
		p.tasks.add(p.start.all)
	}
	return nil
}
