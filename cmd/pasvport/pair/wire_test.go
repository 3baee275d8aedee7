// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// overTCP are both ends of a TCP connection.
func overTCP(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	x, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}

// TestSendNow: what a socket does not take at once is no wait, and leaves later, in
// order.
func TestSendNow(t *testing.T) {
	id, err := newIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	x, y := overTCP(t)
	w := newWire(x)
	l := &line{Conn: tls.Client(w, id.config()), wire: w}
	server := tls.Server(y, id.config())
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := l.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	var sent []byte
	for n := byte(0); w.clear(); n++ { // the other end does not read
		b := bytes.Repeat([]byte{n}, 10_000)
		sent = append(sent, b...)
		l.turn.Lock()
		l.sendNow(b)
		l.turn.Unlock()
	}
	left := make(chan error, 1)
	go func() {
		l.turn.Lock()
		defer l.turn.Unlock()
		sent = append(sent, "the end"...)
		left <- l.send([]byte("the end"))
		l.Close()
	}()
	got, err := io.ReadAll(server)
	if err := <-left; err != nil {
		t.Fatal(err)
	}
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came, or others, %v", len(got), len(sent), err)
	}
}

// TestPush: what is awaited is written by who waits, with all that was told promptly
// before, and its waits are answered; what was told promptly alone leaves with Push.
func TestPush(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	x, y := overTCP(t)
	go func() { _ = a.hold(t.Context(), x) }()
	go func() { _ = b.serve(y) }()
	eventually(t, "the link is up", a.ready)
	var one, two, three Session
	for n, s := range []*Session{&one, &two} {
		r := record(uint16(n))
		a.Tell(s, &r, Promptly)
	}
	r := record(3)
	if a.Wait(a.Tell(&three, &r, Awaited)); b.book.len() != 3 {
		t.Errorf("%d records are there when what was awaited is", b.book.len())
	}
	r = record(4)
	a.Tell(new(Session), &r, Promptly)
	a.Push()
	eventually(t, "the last one is there", b.toldAllOf(4))
	if s := a.Stats(); s.Waits != 1 || !a.out.line.wire.clear() {
		t.Errorf("%d waits", s.Waits)
	}
}

// TestExpire: each wait has its own bound.
func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		o.begin(nil)
		o.toldAll()
		begun := time.Now()
		first := o.add(kindRecord, Awaited)
		time.Sleep(o.bound / 3)
		second := o.add(kindRecord, Awaited)
		asked := time.Now()
		<-first.done
		if d := time.Since(begun); d != o.bound {
			t.Errorf("the first one took %v", d)
		}
		<-second.done
		if d := time.Since(asked); d != o.bound {
			t.Errorf("the second one took %v", d)
		}
		if due := o.add(kindRecord, Awaited); due.done != nil {
			t.Error("what is awaited of a peer that does not answer waits")
		}
	})
}

// TestUses: what has used a pinhole is in the record, however often that is.
func TestUses(t *testing.T) {
	for _, n := range []int{1, maxUses - 1, maxUses, 3 * maxUses} {
		for _, answered := range []bool{false, true} {
			b := newBook()
			r := numbered(10)
			original, now := expect.Tuple(r.Original), time.Now()
			b.note(stamp{1, 1}, true, original, expect.Tuple(r.Reply), succession.AppendRecord(nil, &r), now)
			h := r.Pinholes[0]
			for i := range n {
				data := expect.Tuple{Src: netip.AddrPortFrom(h.Source, uint16(50000+i)), Dst: h.Public}
				b.used(original, data, answered, now)
			}
			k := b.find(original, now)
			switch {
			case answered && len(k.Pinholes) != 0:
				t.Errorf("%d uses, answered: open is %+v", n, k.Pinholes)
			case !answered && (len(k.Pinholes) != 1 || k.Pinholes[0].Data == nil || k.Pinholes[0].Data.Src.Port() != uint16(50000+n-1)):
				t.Errorf("%d uses: open is %+v", n, k.Pinholes)
			}
		}
	}
}
