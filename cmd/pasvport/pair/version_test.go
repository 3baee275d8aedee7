// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"bufio"
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// foreign is a daemon of another version, played by the test.
type foreign struct {
	t    *testing.T
	conn *tls.Conn
	r    *bufio.Reader
}

// dials dials a daemon: it sends its hello and receives the daemon's.
func dials(t *testing.T, e *end, said []byte) (*foreign, hello) {
	t.Helper()
	x, y := pipe(t)
	go func() {
		_ = e.serve(y)
		y.Close()
	}()
	conn := tls.Client(x, e.id.config())
	f := &foreign{t, conn, bufio.NewReader(conn)}
	f.say(kindHello, said)
	k, b := f.hear()
	theirs, err := parseHello(b)
	if k != kindHello || err != nil {
		t.Fatalf("received %d, %v", k, err)
	}
	return f, theirs
}

func (f *foreign) say(k kind, parts ...[]byte) {
	f.t.Helper()
	f.conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := f.conn.Write(appendFrame(nil, k, parts...)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *foreign) hear() (kind, []byte) {
	f.t.Helper()
	f.conn.SetDeadline(time.Now().Add(5 * time.Second))
	k, b, err := readFrame(f.r, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return k, b
}

// acknowledged requests an acknowledgement, and waits for it.
func (f *foreign) acknowledged(n uint64) {
	f.t.Helper()
	f.say(kindAsk)
	k, b := f.hear()
	if got, _, err := cutUvarint(b); k != kindAck || got != n || err != nil {
		f.t.Fatalf("received %d with %d, %v, want acknowledgement %d", k, got, err, n)
	}
}

// TestNewerPeer: this daemon accepts the part of a newer daemon's messages that
// it knows: the hello is longer, messages and records have more fields, and there
// are unknown kinds.
func TestNewerPeer(t *testing.T) {
	e := newEnd(t, key)
	longer := append(appendHello(nil, hello{oldest: version, version: version + 1, instance: [16]byte{1}, clock: 5}), "and more"...)
	f, theirs := dials(t, e, longer)
	if theirs.version != version || theirs.clock == 0 {
		t.Errorf("received %+v", theirs)
	}
	r := record(1)
	r.Pinholes = []succession.Pinhole{{Source: r.Original.Src.Addr(), Public: r.Original.Dst, Target: r.Original.Dst, Left: time.Minute}}
	raw := succession.AppendRecord(nil, &r)
	newer := slices.Concat([]byte{250, 3, 1, 2, 3}, raw, []byte{251, 0})
	f.say(99, []byte("what is this"))
	f.say(kindRecord, stamp{1, 1}.append(nil), newer)
	f.say(kindAll, []byte("with a field"))
	f.acknowledged(1)
	if k := e.book.find(expect.Tuple(r.Original), time.Now()); k == nil || len(k.Pinholes) != 1 {
		t.Fatalf("known is %+v", k)
	}
	e.Await() // everything was sent
	f.say(kindEnded, stamp{1, 2}.append(nil), newer)
	f.acknowledged(2)
	if e.book.len() != 0 {
		t.Error("an end is ignored")
	}
}

// TestOlderPeer: this daemon talks to one of the previous version, which sends no
// clock and none of the later messages.
func TestOlderPeer(t *testing.T) {
	e := newEnd(t, key)
	e.hello.version, e.hello.oldest = version+1, version
	short := appendHello(nil, hello{oldest: 1, version: version, instance: [16]byte{1}})
	short = short[:len(short)-1] // without the clock
	f, theirs := dials(t, e, short)
	if common, err := common(theirs, hello{oldest: 1, version: version}); common != version || err != nil {
		t.Errorf("they use %d, %v", common, err)
	}
	r := record(1)
	f.say(kindRecord, stamp{1, 1}.append(nil), succession.AppendRecord(nil, &r))
	f.acknowledged(1)
	if e.book.len() != 1 || e.Stats().Skew != 0 {
		t.Errorf("%d records, %+v", e.book.len(), e.Stats())
	}
}

// TestVersionsApart: two daemons without a common version do not talk, and each
// reports why.
func TestVersionsApart(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	b.hello.version, b.hello.oldest = version+2, version+1
	_, ended := link(t, a, b)
	holds, serves := ended()
	for _, err := range []error{holds, serves} {
		if Hint(err) != Hint(&versionError{}) {
			t.Errorf("ends with %v", err)
		}
	}
}
