// SPDX-License-Identifier: Apache-2.0

package session

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

func begin(i int) *Reader {
	return New(numbered(i), &ftpalg.Policy{}, time.Unix(1000, 0), true, nil)
}

// segment is a segment of the client.
func segment(t *testing.T, r *Reader) *nfq.Packet {
	var p nfq.Packet
	s := &nfq.Segment{Src: r.Ends().Client, Dst: r.Ends().Dialled, Seq: 5, Flags: nfq.FlagACK}
	if err := nfq.ParsePacket(&p, nfq.AppendSegment(nil, s)); err != nil {
		t.Fatal(err)
	}
	return &p
}

// TestAcquire: a session has one reader at a time, and its engine may move to
// another session for good.
func TestAcquire(t *testing.T) {
	r := begin(1)
	if r.Acquire(new(ftpalg.Workspace)) != nil {
		t.Error("it has two readers")
	}
	r.Release()
	lost := r.Lost()
	alg := lost.Engine.Acquire(new(ftpalg.Workspace))
	if alg == nil || r.Acquire(new(ftpalg.Workspace)) != nil {
		t.Error("the reader has another engine")
	}
	next := begin(1)
	if !next.Continues(alg) || next.Engine != alg || next.Ends() != alg.Endpoints() {
		t.Error("the next session does not continue it")
	}
	if begin(2).Continues(alg) || begin(2).Continues(nil) {
		t.Error("a session with other ends continues it")
	}
	lost.Engine.Release()
	if r.Acquire(new(ftpalg.Workspace)) == nil {
		t.Error("it cannot be acquired again")
	}
}

// TestLost: an engine whose edits the kernel has adjusted is useless to another
// entry.
func TestLost(t *testing.T) {
	r := begin(1)
	r.SetMark(0x40)
	r.Leave(succession.LeftForeign, r.Started)
	c := r.Lost()
	if c.ID != 1 || c.Original != r.Original() || c.Reply != r.Reply() || !c.Translated || !c.Carrier || c.Adjusted || c.Engine == nil || c.Mark != 0x40 || c.Left != succession.LeftForeign {
		t.Errorf("%+v", c)
	}
	if r.AdjustedByKernel(); r.Lost().Engine != nil || !r.Lost().Adjusted || r.Here() {
		t.Errorf("adjusted by the kernel: %+v", r.Lost())
	}
}

// TestReturned: packets of a session that was left alone arrive again.
func TestReturned(t *testing.T) {
	text := &nfq.Packet{Payload: []byte("x")}
	for _, tt := range []struct {
		name string
		edit func(*Reader)
		p    *nfq.Packet
		at   time.Duration
		want bool
	}{
		{"later", func(*Reader) {}, text, 2 * time.Second, true},
		{"at once", func(*Reader) {}, text, time.Second, false},
		{"bare", func(*Reader) {}, &nfq.Packet{}, time.Minute, false},
		{"it waits", func(r *Reader) { r.Waits = true }, text, time.Minute, false},
		{"adjusted here", func(r *Reader) { r.AdjustHere() }, text, time.Minute, false},
		{"read again", func(r *Reader) { r.Leave(succession.LeftNot, r.Started) }, text, time.Minute, false},
	} {
		r := begin(1)
		r.Leave(succession.LeftAlone, r.Started)
		if tt.edit(r); r.Returned(tt.p, r.Started.Add(tt.at)) != tt.want {
			t.Errorf("%s: want %v", tt.name, tt.want)
		}
	}
}

// TestShowAcks: acknowledgements are requested again when half the time is over.
func TestShowAcks(t *testing.T) {
	r := begin(1)
	for _, tt := range []struct {
		at   time.Duration
		want bool
	}{{0, true}, {time.Second, false}, {29 * time.Second, false}, {30 * time.Second, true}, {31 * time.Second, false}} {
		if got := r.ShowAcks(r.Started.Add(tt.at), time.Minute); got != tt.want {
			t.Errorf("after %v: %v", tt.at, got)
		}
	}
}

// TestMarks: marks that any goroutine may set.
func TestMarks(t *testing.T) {
	r := begin(1)
	if !r.End() || r.End() {
		t.Error("it does not end once")
	}
	if r.SetCounted(true) || !r.SetCounted(false) || r.SetCounted(false) {
		t.Error("it is not counted once")
	}
	if r.TakeMissed() {
		t.Error("a miss is reported without one")
	}
	if r.Miss(); !r.HasMissed() || !r.TakeMissed() || r.TakeMissed() || r.HasMissed() {
		t.Error("a miss is not taken exactly once")
	}
	if !r.LastPacket().Equal(r.Started) {
		t.Error("there is a last packet before the first")
	}
	if r.Meet(segment(t, r), r.Started.Add(5*time.Second)); !r.LastPacket().Equal(r.Started.Add(5 * time.Second)) {
		t.Errorf("the last packet came at %v", r.LastPacket())
	}
	r.Engine.Segment(&ftpalg.Segment{Dir: ftpalg.Original, Payload: []byte("RETR x\r\n")})
	if r.NoteWaiting(); r.TransferWaits() != r.Engine.TransferWaits() {
		t.Error("a waiting transfer is not recorded")
	}
}

// TestToNote: adjustments are recorded when they change.
func TestToNote(t *testing.T) {
	r := begin(1)
	r.AdjustHere()
	if _, changed := r.ToNote(); changed {
		t.Error("they change without an edit")
	}
	r.numbers.noted[0].After = 9
	if now, changed := r.ToNote(); !changed || now != r.Adjustments() {
		t.Errorf("%v, %v", now, changed)
	}
	if _, changed := r.ToNote(); changed {
		t.Error("they are recorded twice")
	}
}

// TestSnapshot: what the administrator sees.
func TestSnapshot(t *testing.T) {
	r := begin(1)
	logIn(r)
	for _, line := range []string{"USER anonymous", "PASS guest@"} {
		r.Enter(ftpalg.Original, []byte(line), false, r.Started)
		r.Enter(ftpalg.Reply, []byte("230 welcome"), false, r.Started)
	}
	r.SetNote("a sentence")
	p := new(pinhole.Pinhole)
	r.Opened(control.Offer{Verb: "PASV"}, ftpalg.Passive, p)
	traffic := pinhole.Traffic{Connections: 2, Accounting: true, Bytes: [2]uint64{10, 20}, Payload: pinhole.Payload{Upload: 1, Download: 2}}
	c := r.Snapshot(traffic, r.Started.Add(time.Minute))
	if c.ID != 1 || c.NAT != control.NATSrc || c.State != "established" || c.Mode != control.ModePassive || c.Strategy != "expectation" ||
		c.Note != "a sentence" || c.Offer.Verb != "PASV" || c.Offer.Pinhole != control.PinholeOpen || c.User != "anonymous" ||
		c.Data.Connections != 2 || c.BytesDown != 2 || c.Idle != control.Duration(time.Minute) || c.Opaque {
		t.Errorf("%+v", c)
	}
	r.Refused(control.Offer{Verb: "PORT"})
	r.Leave(succession.LeftEncrypted, r.Started)
	r.SetClosed()
	if c = r.Snapshot(traffic, r.Started); c.Offer.Verb != "PORT" || r.LastOffer().Verb != "PORT" || !c.Opaque || !c.Encrypted || c.State != StateClosed {
		t.Errorf("%+v", c)
	}
	for _, tt := range []struct {
		src, dst bool
		want     control.NAT
	}{{false, false, control.NATNone}, {true, false, control.NATSrc}, {false, true, control.NATDst}, {true, true, control.NATBoth}} {
		e := *r.Ends()
		e.SeenAs, e.Dialled = e.Client, e.Server
		if tt.src {
			e.SeenAs = e.Server
		}
		if tt.dst {
			e.Dialled = e.Client
		}
		if got := natOf(&e); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// TestEndedBecause: what was said or done explains an end.
func TestEndedBecause(t *testing.T) {
	r := begin(1)
	if user, _, cause := r.Ended(); user != "" || cause != "" {
		t.Errorf("nothing was said: %q, %q", user, cause)
	}
	r.Enter(ftpalg.Original, []byte("QUIT"), false, r.Started)
	if _, _, cause := r.Ended(); cause != "quit" {
		t.Errorf("%q after QUIT", cause)
	}
	r.SetCause(keepalive.CauseIdle)
	if _, _, cause := r.Ended(); cause != keepalive.CauseIdle.String() {
		t.Errorf("%q though we ended it", cause)
	}
}

// TestRecord: a session has no record if the next daemon finds everything in the
// kernel.
func TestRecord(t *testing.T) {
	e := numbered(1)
	quiet := New(e, &ftpalg.Policy{}, time.Unix(1000, 0), false, nil)
	if rec, ok := quiet.Record(nil, new(ftpalg.State)); ok {
		t.Errorf("%+v", rec)
	}
	quiet.Leave(succession.LeftAlone, quiet.Started)
	if rec, ok := quiet.Record(nil, new(ftpalg.State)); !ok || rec.Left != succession.LeftAlone || !rec.Is(1, e.Original, e.Reply) {
		t.Errorf("%+v, %v", rec, ok)
	}
	r := begin(2)
	logIn(r)
	r.AdjustHere()
	rec, ok := r.Record([]succession.Pinhole{{Active: true}}, new(ftpalg.State))
	if !ok || rec.Adjusted == nil || rec.Next[0] == nil || rec.Next[1] == nil || len(rec.Pinholes) != 1 {
		t.Errorf("%+v, %v", rec, ok)
	}
}

// TestMove: a session is moved once, and one that ended meanwhile is not.
func TestMove(t *testing.T) {
	var from, to Table
	s := begin(1).Session
	from.Add(s)
	if to.Move(s.Reply(), &from) != s || to.Find(s.Original()) != s || from.Find(s.Original()) != nil {
		t.Error("it is not moved")
	}
	if to.Move(s.Original(), &from) != nil || to.Find(s.Original()) != s {
		t.Error("it is moved twice")
	}
}

// TestKeepaliveState: the state that the keep-alive reads.
func TestKeepaliveState(t *testing.T) {
	r := begin(1)
	if c := r.Keepalive(); c.Conn != nil || !c.Established || c.Adjusted || c.Transferring {
		t.Errorf("%+v", c)
	}
	for range 2 {
		r.NoteSegment(segment(t, r), r.Started)
	}
	r.SetState(expect.TCPStateFinWait)
	if c := r.Keepalive(); c.Conn == nil || c.Established {
		t.Errorf("%+v", c)
	}
	e := numbered(2)
	e.Reply.Zone = 3
	if New(e, &ftpalg.Policy{}, time.Now(), true, nil).Keepalive().Established {
		t.Error("a segment of ours would leave by another zone")
	}
}
