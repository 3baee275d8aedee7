// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// TestData: a data connection from its first packet to the end of its entry.
func TestData(t *testing.T) {
	b := newBench()
	o := owner(1, client)
	p, err := b.open(o, passive(5000))
	if err != nil {
		t.Fatal(err)
	}
	data := b.begins(p, 50000)
	if !o.Transferring() || !b.Data.IsLive(data) || !slices.Equal(b.Data.Live(o), []expect.Tuple{data}) {
		t.Error("it is not live")
	}
	select {
	case <-b.Data.Wake():
	default:
		t.Error("no one is woken")
	}
	if due := b.Data.Due(); !slices.Equal(due, []*Owner{o}) || len(b.Data.Due()) != 0 {
		t.Errorf("due: %v", due)
	}
	rules := 0
	b.Data.EachRule(func(expect.Tuple, *Pinhole) { rules++ })
	if rules != 1 || b.Data.TakeRule(data) != p || b.Data.TakeRule(data) != nil {
		t.Error("its rule is not there once")
	}
	for _, n := range []uint64{10, 30} {
		b.Data.Count(&expect.Entry{Original: data, Bytes: [2]uint64{n, 2 * n}, HasCounters: true})
	}
	if got := b.Data.Traffic(o); got.Connections != 1 || !got.Accounting || got.Bytes != [2]uint64{30, 60} {
		t.Errorf("traffic %+v", got)
	}
	b.Data.Closed(data)
	if o.Transferring() || b.Data.IsLive(data) {
		t.Error("it is live although it is closed")
	}
	b.Data.Count(&expect.Entry{Original: data, Bytes: [2]uint64{31, 60}, HasCounters: true})
	gone := &expect.Entry{Original: data, Bytes: [2]uint64{32, 60}, HasCounters: true}
	b.Data.Count(gone)
	if !b.Ends(gone) || b.Ends(gone) || len(b.Data.Tuples()) != 0 {
		t.Error("it does not end once")
	}
	if got := b.Data.Traffic(o).Bytes; got != [2]uint64{32, 60} {
		t.Errorf("%v bytes", got)
	}
}

// TestUnreported: if no event reports that a data connection is closed, the next
// one of its owner shows it, and no one else's.
func TestUnreported(t *testing.T) {
	for _, unreported := range []bool{false, true} {
		b := newBench()
		b.Data.Unreported.Store(unreported)
		one, two := owner(1, client), owner(2, client)
		tuple := func(port uint16) expect.Tuple {
			return expect.Tuple{Src: netip.AddrPortFrom(client, port), Dst: netip.MustParseAddrPort("203.0.113.2:5000")}
		}
		b.Data.Add(tuple(1), one, nil)
		b.Data.Add(tuple(2), two, nil)
		b.Data.Add(tuple(3), one, nil)
		b.Data.Add(tuple(3), one, nil) // the same again
		want := []expect.Tuple{tuple(1), tuple(3)}
		if unreported {
			want = want[1:]
		}
		got := b.Data.Live(one)
		slices.SortFunc(got, func(a, b expect.Tuple) int { return a.Src.Compare(b.Src) })
		if !slices.Equal(got, want) || !b.Data.IsLive(tuple(2)) || !one.Transferring() {
			t.Errorf("unreported %t: %v are live, want %v", unreported, got, want)
		}
		if len(b.Data.Tuples()) != 3 {
			t.Errorf("unreported %t: one is forgotten: %v", unreported, b.Data.Tuples())
		}
	}
}

// TestPayload: headers are subtracted, whoever opened the data connection.
func TestPayload(t *testing.T) {
	client, server := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("203.0.113.2:21")
	client6, server6 := netip.MustParseAddrPort("[2001:db8::1]:4000"), netip.MustParseAddrPort("[2001:db8::2]:21")
	entry := func(from, to netip.AddrPort, packets, bytes [2]uint64) *expect.Entry {
		return &expect.Entry{Original: expect.Tuple{Src: from, Dst: to}, Reply: expect.Tuple{Src: to, Dst: from}, Packets: packets, Bytes: bytes, HasCounters: true}
	}
	for _, tt := range []struct {
		name    string
		e       *expect.Entry
		stamped bool
		want    Carried
	}{
		// SYN, ACK, FIN, ACK against SYN-ACK, 1000 bytes, FIN.
		{"passive", entry(client, server, [2]uint64{4, 3}, [2]uint64{52 + 3*40, 52 + 1040 + 40}), false, Carried{Payload: Payload{Download: 1000}}},
		{"stamped", entry(client, server, [2]uint64{4, 3}, [2]uint64{60 + 3*52, 60 + 1052 + 52}), true, Carried{Payload: Payload{Download: 1000}}},
		{"active", entry(server, client, [2]uint64{3, 4}, [2]uint64{60 + 1052 + 52, 60 + 3*52}), true, Carried{true, Payload{Download: 1000}}},
		{"active upload", entry(server, client, [2]uint64{4, 3}, [2]uint64{60 + 3*52, 60 + 1052 + 52}), true, Carried{true, Payload{Upload: 1000}}},
		{"IPv6", entry(client6, server6, [2]uint64{2, 2}, [2]uint64{80 + 7 + 72, 80 + 72}), true, Carried{Payload: Payload{Upload: 7}}},
		{"fewer than headers", entry(client, server, [2]uint64{4, 3}, [2]uint64{100, 100}), true, Carried{}},
		{"not counted", &expect.Entry{Original: expect.Tuple{Src: server, Dst: client}, Reply: expect.Tuple{Src: client, Dst: server}}, true, Carried{Active: true}},
	} {
		o := &Owner{Ends: &ftpalg.Endpoints{Client: client, Dialled: server, Server: server, SeenAs: client}}
		if tt.e.Original.Src.Addr().Is6() {
			o.Ends = &ftpalg.Endpoints{Client: client6, Dialled: server6, Server: server6, SeenAs: client6}
		}
		o.Stamped.Store(tt.stamped)
		if got := o.Carried(tt.e); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// TestSharedRule: a used pinhole keeps its elements in the sets until its data
// connection is answered. The next pinhole between the same two ends has the same
// elements, and they stay.
func TestSharedRule(t *testing.T) {
	for _, claim := range []bool{false, true} {
		b := newBench()
		o := owner(1, client)
		spec := passive(5000)
		spec.Claim = claim
		var data []expect.Tuple
		for i := range 2 {
			p, err := b.open(o, spec)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				from := uint16(50000)
				data = append(data, expect.Tuple{Src: netip.AddrPortFrom(client, from), Dst: p.Public})
				if claim {
					b.Claim(b.k, data[0].Src, p.Public, 0)
				} else {
					b.begins(p, from)
				}
			}
		}
		b.Answered(&expect.Entry{Original: data[0]})
		if len(b.k.elements) != 1 {
			t.Errorf("claim %v: the second pinhole has the elements %v", claim, b.k.elements)
		}
		b.CloseOf(b.k, o, "")
		b.k.empty(t)
	}
}

// TestReplacedEntry: the end of an entry that was deleted to make room for a
// claim does not end the data connection of the claim, whenever it is reported.
func TestReplacedEntry(t *testing.T) {
	b := newBench()
	o := owner(1, client)
	spec := passive(5000)
	spec.Claim = true
	data := expect.Tuple{Src: netip.AddrPortFrom(client, 50000), Dst: spec.Public}
	for id := range uint32(3) {
		if _, err := b.open(o, spec); err != nil {
			t.Fatal(err)
		}
		b.Claim(b.k, data.Src, data.Dst, 0)
		if id > 0 {
			b.Ends(&expect.Entry{Original: data, ID: id}) // the previous one
		}
		if !b.Data.IsLive(data) || len(b.k.elements) != 1 {
			t.Errorf("connection %d: live %v, elements %v", id+1, b.Data.IsLive(data), b.k.elements)
		}
		b.Answered(&expect.Entry{Original: data})
		e := b.k.entries[data]
		e.ID, e.TCPState = id+1, expect.TCPStateTimeWait
		b.k.enter(e)
		b.Data.Closed(data)
	}
	if !b.Ends(&expect.Entry{Original: data, ID: 3}) || len(b.Data.Tuples()) != 0 {
		t.Error("the last one does not end")
	}
	b.k.empty(t)
}

// TestLost: the entry of a data connection is deleted before it was answered, and made
// anew: its SYN passes again for as long as its pinhole would be open, unless its owner
// has another one since, or it is closed.
func TestLost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state uint8 // of the entry that is deleted
		then  func(*bench, *Owner)
		again uint8 // state of the next one
		open  bool
	}{
		{"not answered", expect.TCPStateSynSent, func(*bench, *Owner) {}, expect.TCPStateSynSent, true},
		{"answered", expect.TCPStateSynRecv, func(*bench, *Owner) {}, expect.TCPStateSynSent, false},
		{"answered since", expect.TCPStateSynSent, func(*bench, *Owner) {}, expect.TCPStateEstablished, false},
		{"its time is over", expect.TCPStateSynSent, func(_ *bench, o *Owner) { o.traffic.lost.Expires = time.Now() }, expect.TCPStateSynSent, false},
		{"closed", expect.TCPStateSynSent, func(b *bench, o *Owner) { b.CloseRules(o) }, expect.TCPStateSynSent, false},
		{"another one", expect.TCPStateSynSent, func(b *bench, o *Owner) {
			b.Begins(&expect.Entry{Original: expect.Tuple{Src: netip.AddrPortFrom(client, 9)}, TCPState: expect.TCPStateEstablished}, o)
		}, expect.TCPStateSynSent, false},
		{"its transfer is over", expect.TCPStateSynSent, func(b *bench, o *Owner) { b.Data.TakeLast(o) }, expect.TCPStateSynSent, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, o := newBench(), owner(1, client)
			b.now = time.Now()
			o.OneWay = true
			spec := passive(5000)
			spec.OneWay = true
			p, err := b.open(o, spec)
			if err != nil {
				t.Fatal(err)
			}
			e := &expect.Entry{Original: b.begins(p, 50000), ID: 1, TCPState: tt.state}
			if tt.state == expect.TCPStateSynRecv {
				b.Answered(e)
			}
			b.Ends(e)
			b.k.empty(t)
			if data, waits := b.Data.Waiting(o); (waits == p) != (tt.state == expect.TCPStateSynSent) || waits != nil && data != e.Original {
				t.Errorf("%v waits for its answer, through %v", data, waits)
			}
			tt.then(b, o)
			e.ID, e.TCPState = 2, tt.again
			b.Begins(e, o)
			if _, waits := b.Data.Waiting(o); (waits == p) != tt.open || (len(b.k.elements) == 1) != tt.open || (b.k.meets(p) == rules.WayUndecided) != tt.open {
				t.Errorf("what waits for its answer is %v, with the elements %v", waits, b.k.elements)
			}
			e.TCPState = expect.TCPStateSynRecv
			b.Answered(e)
			b.k.empty(t)
			e.TCPState = expect.TCPStateEstablished
			if b.Ends(e); tt.open {
				if data, waits := b.Data.Waiting(o); waits != nil {
					t.Errorf("when it has ended %v waits for its answer", data)
				}
			}
		})
	}
}

// TestReopenedAnswered: the answer to a data connection is reported while its rule is
// being opened again: nothing stays open.
func TestReopenedAnswered(t *testing.T) {
	b := newBench()
	o := owner(1, client)
	hole := newPinhole(o, passive(5000), b.now.Add(passive(5000).Timeout))
	e := expect.Entry{Original: expect.Tuple{Src: netip.AddrPortFrom(client, 50000), Dst: hole.Public}, TCPState: expect.TCPStateEstablished}
	b.Data.Found(e.Original, o)
	b.k.enter(e)
	b.Firewall = opening{b.k, func() { b.Answered(&e) }}
	if err := b.ReopenRule(hole, e.Original); err != nil {
		t.Fatal(err)
	}
	b.CatchUp(b.k, e.Original)
	b.k.empty(t)
}

// opening does something before an element is in its set.
type opening struct {
	*kernel
	before func()
}

func (o opening) OpenPinhole(p rules.Pinhole) error {
	o.before()
	return o.kernel.OpenPinhole(p)
}
