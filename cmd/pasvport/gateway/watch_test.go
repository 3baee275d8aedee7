// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

	"github.com/pasvport/pasvport/expect"
)

func (b *bench) watcher() *watcher {
	return &watcher{life: b.life, older: b.w.older, lost: make(chan struct{}, 1)}
}

// TestDataConnection: events of a data connection, from its first packet to its
// end.
func TestDataConnection(t *testing.T) {
	b := newBench(t, nil)
	w := b.watcher()
	l := b.announced(entryOf(1))
	l.accepts(client, "RETR file\r\n")
	data := dataOf(l, 50000)
	b.k.enter(data)
	w.event(b.k, &expect.Event{Type: expect.New, Entry: data})
	s := l.session()
	if !s.Owner.Transferring() || b.metrics.Pinholes.Used.Load() != 1 {
		t.Fatal("it is not known")
	}
	data.TCPState = expect.TCPStateSynRecv
	w.event(b.k, &expect.Event{Type: expect.Update, Entry: data})
	l.say(server, "150 go\r\n")
	l.say(server, "226 done\r\n")
	if b.log.has("msg=transfer ") {
		t.Error("the transfer is reported before its bytes are known")
	}
	data.TCPState, data.Packets, data.Bytes = expect.TCPStateTimeWait, [2]uint64{3, 4}, [2]uint64{3 * 40, 4*40 + 1000}
	b.k.enter(data)
	w.event(b.k, &expect.Event{Type: expect.Update, Entry: data})
	b.logs("msg=transfer ", "verb=RETR", "path=file", "complete=true", "mode=passive", "direction=download")
	if s.Owner.Transferring() {
		t.Error("bytes may still come")
	}
	w.event(b.k, &expect.Event{Type: expect.Destroy, Entry: data})
	if n := len(b.pinholes.Data.Tuples()); n != 0 {
		t.Errorf("%d data connections", n)
	}
}

// TestControlEvents: events of a control connection.
func TestControlEvents(t *testing.T) {
	b := newBench(t, nil)
	w := b.watcher()
	e := entryOf(1)
	e.TCPState = expect.TCPStateSynRecv
	w.older.note()
	w.event(b.k, &expect.Event{Type: expect.Update, Entry: e})
	l := b.connect(entryOf(1))
	l.logIn()
	s := l.session()
	e.TCPState = expect.TCPStateFinWait
	other := e
	other.ID = 2 // an earlier one with the same ports
	w.event(b.k, &expect.Event{Type: expect.Update, Entry: other})
	if !s.Established() {
		t.Error("the end of another connection ends it")
	}
	w.event(b.k, &expect.Event{Type: expect.Update, Entry: e})
	if s.Established() {
		t.Error("it is open though an end closes it")
	}
	e.Mark = 0x40
	w.event(b.k, &expect.Event{Type: expect.Destroy, Entry: e})
	if l.session() != nil || s.Mark() != 0x40 {
		t.Error("it still exists after its end")
	}
	for range 2 {
		w.event(b.k, &expect.Event{Type: expect.Lost})
	}
	if len(w.lost) != 1 {
		t.Error("lost events are not reported once")
	}
	zoned := entryOf(3)
	zoned.Original.Zone = 5
	if w.event(b.k, &expect.Event{Type: expect.New, Entry: zoned}); !b.zones.seen.Load() {
		t.Error("a zone is not noted")
	}
}
