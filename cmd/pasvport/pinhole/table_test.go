// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// TestLife: what happens to a pinhole after each operation, in both strategies,
// and that the kernel holds nothing of it at the end.
func TestLife(t *testing.T) {
	for _, claim := range []bool{false, true} {
		want := passive(5000)
		want.Claim = claim
		from := netip.AddrPortFrom(client, 50000)
		for _, tt := range []struct {
			name string
			do   func(*bench, *Pinhole)
			want []string
		}{
			{"used", func(b *bench, p *Pinhole) {
				data := expect.Tuple{Src: from, Dst: p.Public}
				if claim {
					b.Claim(b.k, from, p.Public, 0)
				} else {
					b.begins(p, from.Port())
				}
				b.Answered(&expect.Entry{Original: data})
			}, []string{"used: used 203.0.113.2:5000"}},
			{"used, and its owner is another firewall's", func(b *bench, p *Pinhole) {
				if claim {
					b.Claim(b.k, from, p.Public, 0)
				} else {
					b.begins(p, from.Port())
				}
				b.CloseRules(p.Owner) // although it was not answered here
			}, []string{"used: used 203.0.113.2:5000"}},
			{"expired", func(b *bench, p *Pinhole) {
				if b.Expire(b.k, p, b.now.Add(59*time.Second)) {
					t.Error("expired before its time")
				}
				b.Expire(b.k, p, b.now.Add(61*time.Second))
			}, []string{"ended: expired 203.0.113.2:5000"}},
			{"refused", func(b *bench, p *Pinhole) { b.CloseOf(b.k, p.Owner, "rejected") },
				[]string{"ended: closed 203.0.113.2:5000 rejected"}},
			{"replaced", func(b *bench, p *Pinhole) {
				next := passive(5001)
				next.Claim = claim
				if _, err := b.open(p.Owner, next); err != nil {
					t.Error(err)
				}
				b.CloseOf(b.k, p.Owner, "")
			}, []string{"ended: replaced 203.0.113.2:5000", "opened: open 203.0.113.2:5001", "ended: closed 203.0.113.2:5001"}},
			{"closed twice", func(b *bench, p *Pinhole) {
				b.Close(b.k, p, Closed, "")
				if b.Close(b.k, p, Closed, "") || b.CloseOf(b.k, p.Owner, "") != nil {
					t.Error("closed again")
				}
				b.Expire(b.k, p, b.now.Add(time.Hour))
				b.begins(p, 50000)
				if b.Claim(b.k, from, p.Public, 0) {
					t.Error("a closed pinhole was claimed")
				}
			}, []string{"ended: closed 203.0.113.2:5000"}},
		} {
			t.Run(tt.name+" "+(&Pinhole{Spec: want}).Strategy(), func(t *testing.T) {
				b := newBench()
				o := owner(1, client)
				p, err := b.open(o, want)
				if err != nil {
					t.Fatal(err)
				}
				if len(b.k.elements) != 1 || len(b.k.expected) != map[bool]int{true: 0, false: 1}[claim] {
					t.Errorf("the kernel has the expectations %v and the elements %v", b.k.expected, b.k.elements)
				}
				tt.do(b, p)
				if diff := cmp.Diff(append([]string{"opened: open 203.0.113.2:5000"}, tt.want...), b.d.lines); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				b.k.empty(t)
				if len(b.All()) != 0 || len(b.per) != 0 || b.Of(o) != nil {
					t.Errorf("the table still has %v, counts %v", b.All(), b.per)
				}
			})
		}
	}
}

// TestCancel: a pinhole that could not be announced leaves nothing, and raises no
// event.
func TestCancel(t *testing.T) {
	b := newBench()
	p, err := b.Open(b.k, owner(1, client), passive(5000), b.most, b.now, func() {})
	if err != nil || p.State() != Reserved {
		t.Fatalf("%v, %v", p, err)
	}
	b.Cancel(b.k, p)
	b.k.empty(t)
	if len(b.d.lines) != 0 || len(b.All()) != 0 {
		t.Errorf("%v, %v", b.d.lines, b.All())
	}
}

// TestRefusals: the errors of Open, and that it leaves nothing when it fails.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(*bench)
		spec    Spec
		want    error
	}{
		{"all", func(b *bench) { b.most.All = 0 }, passive(5000), ErrTooMany},
		{"one client", func(b *bench) { b.most.Client = 0 }, passive(5000), ErrTooManyClient},
		{"no claims", func(b *bench) { b.Claims = false }, Spec{Key: passive(5000).Key, Claim: true}, ErrNoCarrier},
		{"taken by a stranger, translated", func(b *bench) {
			for port := 1024; port < 1<<16; port++ {
				b.k.expected[expect.Tuple{Src: netip.AddrPortFrom(server, 0), Dst: netip.AddrPortFrom(public, uint16(port))}] = expect.Expectation{}
			}
		}, active(5000), ErrNoPort},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			tt.prepare(b)
			held := len(b.k.expected)
			_, err := b.open(owner(1, client), tt.spec)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if len(b.All()) != 0 || len(b.k.expected) != held || len(b.k.elements) != 0 {
				t.Errorf("left: %v, %v", b.All(), b.k.elements)
			}
		})
	}
}

// TestStale: an expectation that an earlier daemon left for the same two ends is
// replaced.
func TestStale(t *testing.T) {
	b := newBench()
	gone := owner(9, client)
	if err := b.k.CreateExpectation((&Pinhole{Spec: passive(5000), Owner: gone}).expectation()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.open(owner(1, client), passive(5000)); err != nil {
		t.Error(err)
	}
}

// TestSamePort: if another control connection has announced the same port, the
// older one keeps its pinhole as long as it lives. The newer gets another port
// where it is translated, and is refused where it is not.
func TestSamePort(t *testing.T) {
	living := func(b *bench, o *Owner) {
		b.k.enter(expect.Entry{ID: o.ID, Original: o.Original(), Reply: o.Original().Reverse(), TCPState: expect.TCPStateEstablished})
	}
	for _, tt := range []struct {
		name  string
		spec  Spec
		older func(*bench, *Owner)
		err   error
		moved bool // to another port
		state State
	}{
		{"untranslated", passive(5000), living, ErrNoPort, false, Open},
		{"translated", active(5000), living, nil, true, Open},
		{"the older is gone", passive(5000), func(*bench, *Owner) {}, nil, false, Replaced},
		{"the older is being closed", passive(5000), func(b *bench, o *Owner) {
			b.k.enter(expect.Entry{ID: o.ID, Original: o.Original(), TCPState: expect.TCPStateTimeWait})
		}, nil, false, Replaced},
		{"another has the older's ports", passive(5000), func(b *bench, o *Owner) {
			b.k.enter(expect.Entry{ID: o.ID + 1, Original: o.Original(), TCPState: expect.TCPStateEstablished})
		}, nil, false, Replaced},
	} {
		for _, claim := range []bool{false, true} {
			tt.spec.Claim = claim
			t.Run(tt.name+" "+(&Pinhole{Spec: tt.spec}).Strategy(), func(t *testing.T) {
				b := newBench()
				older, newer := owner(1, public), owner(2, public)
				tt.older(b, older)
				p, err := b.open(older, tt.spec)
				if err != nil {
					t.Fatal(err)
				}
				q, err := b.open(newer, tt.spec)
				if !errors.Is(err, tt.err) {
					t.Errorf("the newer gets %v, want %v", err, tt.err)
				}
				if err == nil && (q.Public != p.Public) != tt.moved {
					t.Errorf("the newer gets %v, the older has %v", q.Public, p.Public)
				}
				if p.State() != tt.state {
					t.Errorf("the older's is %v, want %v", p.State(), tt.state)
				}
				again, err := b.open(older, tt.spec)
				if tt.state == Open && (err != nil || again.Public != p.Public) {
					t.Errorf("the older, again: %v, %v", again, err)
				}
			})
		}
	}
}

// TestFull: without room for an expectation, the next pinhole is claimed if that
// is allowed.
func TestFull(t *testing.T) {
	for _, claims := range []bool{true, false} {
		b := newBench()
		b.Claims, b.k.room = claims, 1
		if _, err := b.open(owner(1, client), passive(5000)); err != nil {
			t.Fatal(err)
		}
		p, err := b.open(owner(2, client), passive(5001))
		if !claims {
			if !errors.Is(err, unix.EMFILE) || len(b.All()) != 1 {
				t.Errorf("without claims: %v, %v", p, err)
			}
			continue
		}
		if err != nil || !p.Claim || p.Public.Port() != 5001 {
			t.Fatalf("%+v, %v", p, err)
		}
		if !b.Claim(b.k, netip.AddrPortFrom(client, 50000), p.Public, 0) || p.State() != Used {
			t.Errorf("it is %v", p.State())
		}
		b.CloseOf(b.k, owner(2, client), "")
	}
}

// TestMapped: pinholes of a range have each port once between two hosts, in both
// strategies; a port is free again when its pinhole is used or closed, and ports
// that the kernel uses are skipped.
func TestMapped(t *testing.T) {
	for _, claim := range []bool{false, true} {
		b := newBench()
		want := passive(5000)
		want.NAT, want.Claim, want.Ports = true, claim, ftpalg.PortRange{Low: 6000, High: 6002}
		var open []*Pinhole
		ports := map[uint16]bool{}
		for i := range 3 {
			p, err := b.open(owner(i, client), want)
			if err != nil {
				t.Fatal(err)
			}
			open, ports[p.Public.Port()] = append(open, p), true
		}
		if len(ports) != 3 || !ports[6000] || !ports[6002] {
			t.Errorf("ports %v", ports)
		}
		if p, err := b.open(owner(3, client), want); !errors.Is(err, ErrNoPort) {
			t.Errorf("a fourth: %+v, %v", p, err)
		}
		other := want
		other.Source = public
		if p, err := b.open(owner(4, client), other); err != nil {
			t.Errorf("of another host: %+v, %v", p, err)
		}
		b.CloseOf(b.k, open[1].Owner, "")
		p, err := b.open(owner(5, client), want)
		if err != nil || p.Public != open[1].Public {
			t.Errorf("after one was closed: %+v, %v, want %v", p, err, open[1].Public)
		}
		b.CloseOf(b.k, p.Owner, "")
		if !claim {
			b.k.expected[wild(p.expected())] = expect.Expectation{}
			if p, err := b.open(owner(6, client), want); !errors.Is(err, ErrNoPort) {
				t.Errorf("at a port that the kernel has: %+v, %v", p, err)
			}
		}
	}
}

// TestEdited: if an earlier daemon has edited a segment that is retransmitted,
// its port stays.
func TestEdited(t *testing.T) {
	b := newBench()
	o := owner(1, public)
	moved := active(5000)
	moved.Public = netip.AddrPortFrom(public, 6000)
	if !b.Restore(&Pinhole{Spec: moved, Owner: o, Expires: b.now.Add(time.Minute)}) {
		t.Fatal("not restored")
	}
	p, err := b.open(o, active(5000))
	if err != nil || p.Public.Port() != 6000 {
		t.Errorf("%v, %v", p, err)
	}
}

// TestRace: a data connection, a timeout, another announcement and the end of the
// control connection at the same moment. One of them takes the pinhole; the
// kernel holds nothing of it afterwards, and each event happens once.
func TestRace(t *testing.T) {
	for _, claim := range []bool{false, true} {
		b := newBench()
		for i := range 2000 {
			o := owner(i%20000, client)
			want := passive(5000)
			want.Claim = claim
			p, err := b.open(o, want)
			if err != nil {
				t.Fatal(err)
			}
			from := netip.AddrPortFrom(client, uint16(1024+i))
			var wg sync.WaitGroup
			var next atomic.Pointer[Pinhole]
			wg.Go(func() {
				if claim {
					b.Claim(b.k, from, p.Public, 0)
				} else {
					b.Begins(&expect.Entry{Original: expect.Tuple{Src: from, Dst: p.Public}, Master: o.Original()}, o)
				}
			})
			wg.Go(func() { b.Expire(b.k, p, b.now.Add(time.Hour)) })
			wg.Go(func() { b.CloseOf(b.k, o, "") })
			wg.Go(func() { b.Keep(b.k, p, p.Expires, true) })
			wg.Go(func() {
				another := passive(5001)
				another.Claim = claim
				q, err := b.open(o, another)
				if err != nil {
					t.Error(err)
				}
				next.Store(q)
			})
			wg.Wait()
			b.Close(b.k, next.Load(), Closed, "")
			if p.State() == Used {
				data := expect.Tuple{Src: from, Dst: p.Public}
				delete(b.k.expected, wild(data))
				b.Answered(&expect.Entry{Original: data})
			}
		}
		b.k.empty(t)
		if b.d.opened != 4000 || b.d.used+b.d.unused != b.d.opened || len(b.All()) != 0 {
			t.Errorf("%d opened, %d used, %d ended unused, %d left", b.d.opened, b.d.used, b.d.unused, len(b.All()))
		}
		t.Logf("%d used, %d ended unused", b.d.used, b.d.unused)
	}
}

// TestClaimLingering: the entry of an earlier data connection between the same
// two ports is replaced if it has ended, but not if the SYN is its own.
func TestClaimLingering(t *testing.T) {
	for _, tt := range []struct {
		name   string
		state  uint8
		delete bool
	}{
		{"its own, repeated", expect.TCPStateSynSent, false},
		{"closed", expect.TCPStateTimeWait, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			spec := passive(5000)
			spec.Claim = true
			if _, err := b.open(owner(1, client), spec); err != nil {
				t.Fatal(err)
			}
			from := netip.AddrPortFrom(client, 50000)
			old := expect.Tuple{Src: from, Dst: spec.Public}
			b.k.enter(expect.Entry{Original: old, Reply: old.Reverse(), TCPState: tt.state})
			b.Claim(b.k, from, spec.Public, 7)
			e, err := b.k.Get(old)
			if err != nil || (e.Mark == 7) != tt.delete {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

// TestClaimFails: a claim that the kernel refuses closes the pinhole.
func TestClaimFails(t *testing.T) {
	b := newBench()
	spec := passive(5000)
	spec.Claim = true
	p, err := b.open(owner(1, client), spec)
	if err != nil {
		t.Fatal(err)
	}
	b.Claim(refusing{b.k}, netip.AddrPortFrom(client, 50000), spec.Public, 0)
	if got := b.d.lines[len(b.d.lines)-1]; got != "ended: closed 203.0.113.2:5000 kernel-refused" || p.State() != Closed {
		t.Error(got)
	}
	b.k.empty(t)
	if b.Data.IsLive(expect.Tuple{Src: netip.AddrPortFrom(client, 50000), Dst: spec.Public}) {
		t.Error("the data connection is live")
	}
}

// refusing is a kernel whose table is full.
type refusing struct{ *kernel }

func (refusing) Claim(expect.Claim) error { return unix.ENOMEM }

// TestKeep: a pinhole whose transfer waits is kept until 300 s after it was
// opened, in the kernel and in the table, and one that ended meanwhile is not
// reopened.
func TestKeep(t *testing.T) {
	for _, claim := range []bool{false, true} {
		b := newBench()
		spec := passive(5000)
		spec.Claim = claim
		p, err := b.open(owner(1, client), spec)
		if err != nil {
			t.Fatal(err)
		}
		now := b.now
		for ; b.Of(p.Owner) == p; now = now.Add(300 * time.Millisecond) {
			if !b.Expire(b.k, p, now) {
				b.Keep(b.k, p, now, true)
			}
			if x, ok := b.k.expected[wild(p.expected())]; ok && now.Sub(b.now) > time.Minute && x.Timeout < time.Second {
				t.Fatalf("after %v the kernel has %v left", now.Sub(b.now), x.Timeout)
			}
		}
		if lived := now.Sub(b.now); lived < longest || lived > longest+time.Second {
			t.Errorf("it lived for %v", lived)
		}
		b.Keep(b.k, p, p.Until(), true)
		b.k.empty(t)
	}
}

// TestRepeats: while TCP retransmits what its receiver may need for the data
// connection, each time after twice as long, a pinhole stays; once it does not,
// it expires.
func TestRepeats(t *testing.T) {
	for _, times := range []int{0, 1, 5, 9} {
		b := newBench()
		spec := passive(5000)
		spec.Timeout = 2 * time.Second
		p, err := b.open(owner(1, client), spec)
		if err != nil {
			t.Fatal(err)
		}
		var last time.Duration // of the retransmissions
		next := 200 * time.Millisecond
		lived := time.Duration(0)
		for ; b.Of(p.Owner) == p; lived += 100 * time.Millisecond {
			now := b.now.Add(lived)
			if lived == next && times > 0 {
				b.Repeats(p.Owner, now)
				last, next, times = lived, 2*next+200*time.Millisecond, times-1
			}
			if !b.Expire(b.k, p, now) {
				b.Keep(b.k, p, now, false)
			}
		}
		if want := 2*last + spec.Timeout; lived < want || lived > want+time.Second {
			t.Errorf("repeated until %v it lived for %v", last, lived)
		}
		b.k.empty(t)
	}
}

// TestDropped: an expectation that is gone without a connection was used up by a
// dropped packet; but not if its control connection has another entry now.
func TestDropped(t *testing.T) {
	for _, tt := range []struct {
		name string
		id   uint32 // of the control connection's entry at the end; 0: none
		gone bool
		want State
	}{
		{"no one came", 1, false, Expired},
		{"dropped", 1, true, Dropped},
		{"flushed", 0, true, Expired},
		{"flushed and picked up", 2, true, Expired},
	} {
		b := newBench()
		o := owner(1, client)
		p, err := b.open(o, passive(5000))
		if err != nil {
			t.Fatal(err)
		}
		if tt.gone {
			clear(b.k.expected)
		}
		if delete(b.k.entries, o.Original()); tt.id > 0 {
			b.k.entries[o.Original()] = expect.Entry{ID: tt.id, Original: o.Original()}
		}
		b.Expire(b.k, p, b.now.Add(time.Hour))
		if p.State() != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, p.State(), tt.want)
		}
	}
}
