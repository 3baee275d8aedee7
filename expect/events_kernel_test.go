// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"context"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"
)

// listenEvents subscribes in the router.
func (n *network) listenEvents(buffer int) *Events {
	n.t.Helper()
	var e *Events
	var err error
	n.in("r", func() { e, err = listen([]PortRange{{controlPort, controlPort}}, buffer) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { e.Close() })
	return e
}

// collect runs e until an event satisfies last, and returns all.
func collect(t *testing.T, e *Events, last func(Event) bool) []Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got []Event
	found := false
	must(t, e.Run(ctx, func(ev *Event) {
		got = append(got, *ev)
		if last(*ev) {
			found = true
			cancel()
		}
	}))
	if !found {
		t.Errorf("the last event did not arrive; got %+v", got)
	}
	return got
}

// Only events of connections to the ports and of expected ones pass the filter in
// the kernel, whatever their marks; a data connection's has its master and
// inherited mark.
func TestKernelEventsByPort(t *testing.T) {
	n := newNetwork(t, carrierSane, true, false)
	e := n.listenEvents(eventBuffer)
	c := n.dial()

	ctl, control := n.control(ipv4, false)
	must(t, c.UpdateMark(control, 0x080000f3, 0x080000f3))
	l := n.listen("s", netip.AddrPortFrom(ipv4.server, 0))
	unmarked := n.connect("c", netip.AddrPortFrom(ipv4.client, 0), unmap(l.Addr()), l)
	stranger := Tuple{Src: localAddr(unmarked.near), Dst: unmap(l.Addr())}
	must(t, c.UpdateMark(stranger, 0x08000000, 0xffffffff))
	must(t, c.Delete(stranger))

	l = n.listen("c", netip.AddrPortFrom(ipv4.client, 0))
	x := active(ipv4, control, true, remoteAddr(ctl.far).Addr(), unmap(l.Addr()).Port())
	must(t, c.CreateExpectation(x))
	data := n.connect("s", netip.AddrPortFrom(ipv4.server, 0), x.Dest, l)
	child := Tuple{Src: localAddr(data.near), Dst: x.Dest}
	data.talk(t)
	for original, p := range map[Tuple]pair{child: data, control: ctl} {
		must(t, p.near.Close())
		must(t, p.far.Close())
		waitFor(t, "the end of a connection", func() bool {
			e, err := c.Get(original)
			must(t, err)
			return e.TCPState == TCPStateTimeWait
		})
	}
	must(t, c.Delete(child))
	must(t, c.Delete(control))

	got := collect(t, e, func(ev Event) bool { return ev.Type == Destroy && ev.Entry.Original == control })
	seen := make(map[EventType]map[Tuple]Entry)
	answered, closed := false, map[Tuple][]uint8{}
	for _, ev := range got {
		if ev.Entry.Original == stranger || ev.Entry.Original.Dst.Port() != controlPort && ev.Entry.Status&StatusExpected == 0 {
			t.Errorf("event %v of %v", ev.Type, ev.Entry.Original)
		}
		switch state := ev.Entry.TCPState; {
		case ev.Type != Update:
		case state == TCPStateEstablished || state == TCPStateCloseWait || state == TCPStateLastAck,
			state == TCPStateFinWait && ev.Entry.Original == child:
			t.Errorf("event of state %d: %v", state, ev.Entry.Original)
		case state == TCPStateSynRecv && ev.Entry.Original == child:
			answered = true
		case state >= TCPStateFinWait:
			closed[ev.Entry.Original] = append(closed[ev.Entry.Original], state)
		}
		if seen[ev.Type] == nil {
			seen[ev.Type] = make(map[Tuple]Entry)
		}
		seen[ev.Type][ev.Entry.Original] = ev.Entry
	}
	begun, ok := seen[New][child]
	if !ok || begun.Master != control || begun.Mark != 0x0c0000f3 || begun.Status&StatusExpected == 0 {
		t.Errorf("new data connection %+v, want master %v and mark 0xc0000f3", begun, control)
	}
	if !answered {
		t.Error("no event of the data connection's SYN-ACK")
	}
	want := map[Tuple][]uint8{child: {TCPStateTimeWait}, control: {TCPStateFinWait, TCPStateTimeWait}}
	if !reflect.DeepEqual(closed, want) {
		t.Errorf("states of connections that end: %v, want %v", closed, want)
	}
	if _, ok := seen[Destroy][child]; !ok {
		t.Error("no destroy event of the data connection")
	}
}

// A claim has its New event when it is made, with master and mark.
func TestKernelEventOfClaim(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	e := n.listenEvents(eventBuffer)
	x := Claim{Original: control.shift(), Master: control, Mark: controlMark, Timeout: time.Minute}
	must(t, c.Claim(x))
	got := collect(t, e, func(ev Event) bool { return ev.Type == New })
	if got[0].Entry.Original != x.Original || got[0].Entry.Master != control {
		t.Errorf("event %+v, want the claim of %v", got[0], control)
	}
}

// Whether an entry has events is decided when it is created.
func TestKernelEventsSettledAtCreation(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	n.setEvents("0")
	older, younger := olderAndYounger(t, n, func() { n.setEvents("1") })
	if older != 0 || younger == 0 {
		t.Errorf("%d events of the entry without, %d of the entry with; want none and some", older, younger)
	}
}

// With nf_conntrack_events = 2 an entry that is older than the first listener
// has no events, not even its end. (On Linux 6.18 a listener in any namespace
// counts.)
func TestKernelEventsNeedEarlierListener(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	n.setEvents("2")
	older, younger := olderAndYounger(t, n, func() {})
	if younger == 0 {
		t.Error("no events of the younger connection")
	}
	if older != 0 {
		t.Skip("needs a machine without any other listener to conntrack events")
	}
}

func (n *network) setEvents(value string) {
	n.t.Helper()
	must(n.t, n.hosts["r"].Sysctl("net/netfilter/nf_conntrack_events", value))
}

// olderAndYounger makes a connection before and one after the subscription,
// ends both, and counts their events.
func olderAndYounger(t *testing.T, n *network, between func()) (older, younger int) {
	t.Helper()
	c := n.dial()
	_, before := n.control(ipv4, false)
	between()
	e := n.listenEvents(eventBuffer)
	_, after := n.control(ipv4, false)
	must(t, c.UpdateMark(before, 1, 1))
	must(t, c.Delete(before))
	must(t, c.Delete(after))
	last := func(ev Event) bool { return ev.Type == Destroy && ev.Entry.Original == after }
	for _, ev := range collect(t, e, last) {
		switch ev.Entry.Original {
		case before:
			older++
		case after:
			younger++
		}
	}
	return older, younger
}

// A full buffer is counted, and reported when events arrive again: what happens
// after Lost is not lost. It does not end the subscription.
func TestKernelEventsOverrun(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	e := n.listenEvents(4096)
	claim := func(port uint16) {
		t.Helper()
		must(t, c.Claim(Claim{Master: control, Mark: controlMark, Timeout: time.Minute, Original: Tuple{
			Src: netip.AddrPortFrom(ipv4.client, dataPort), Dst: netip.AddrPortFrom(ipv4.server, port)}}))
	}
	const flood = 100
	for port := uint16(30000); port < 30000+flood; port++ {
		claim(port)
	}
	got := collect(t, e, func(ev Event) bool {
		if ev.Type == Lost {
			claim(40000)
		}
		return ev.Entry.Original.Dst.Port() == 40000
	})
	if len(got) >= flood {
		t.Errorf("%d events out of a buffer of 4 KB: none was lost", len(got))
	}
	if lost := got[len(got)-2]; lost.Type != Lost || e.Overruns() != 1 {
		t.Errorf("%d overruns, and %v before the last event; want 1 and lost", e.Overruns(), lost.Type)
	}
}

// Run ends with its context, even if someone waits for what it has handled.
func TestKernelEventsEndWithContext(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	e := n.listenEvents(eventBuffer)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx, func(*Event) {}) }()
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		for ctx.Err() == nil {
			e.handling.Store(true) // as if there was something
			e.Sync(time.Millisecond)
		}
	}()
	time.AfterFunc(20*time.Millisecond, cancel)
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not return")
	}
	<-waited
}

// TestKernelEventsSync: what happened before is handled when Sync returns, in
// order, however long that takes, and never two events at a time.
func TestKernelEventsSync(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	_, control := n.control(ipv4, false)
	e := n.listenEvents(eventBuffer)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	var mu sync.Mutex
	var got []Event
	go func() {
		done <- e.Run(ctx, func(ev *Event) {
			if !mu.TryLock() {
				t.Error("two events are handled at a time")
				mu.Lock()
			}
			defer mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			got = append(got, *ev)
		})
	}()
	defer func() { cancel(); must(t, <-done) }()
	c := n.dial()
	x := Claim{Original: control.shift(), Master: control, Mark: controlMark, Timeout: time.Minute}
	for i := range 20 {
		want := New
		if i%2 == 0 {
			must(t, c.Claim(x))
		} else {
			want = Destroy
			must(t, c.Delete(x.Original))
		}
		if !e.Sync(20 * time.Second) {
			t.Fatal("Sync gave up")
		}
		mu.Lock()
		if n := len(got); n != i+1 || got[i].Type != want || got[i].Entry.Original != x.Original {
			t.Errorf("events %+v, want %d, the last one %v", got, i+1, want)
		}
		mu.Unlock()
	}
}

// TestKernelEventsSyncBeforeRun: Sync waits for the goroutine that handles
// events.
func TestKernelEventsSyncBeforeRun(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	_, control := n.control(ipv4, false)
	e := n.listenEvents(eventBuffer)
	must(t, n.dial().Claim(Claim{Original: control.shift(), Master: control, Mark: controlMark, Timeout: time.Minute}))
	synced := make(chan bool)
	go func() { synced <- e.Sync(20 * time.Second) }()
	time.Sleep(20 * time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	seen := 0
	go func() { done <- e.Run(ctx, func(*Event) { seen++ }) }()
	if !<-synced {
		t.Error("Sync gave up")
	}
	cancel()
	if must(t, <-done); seen != 1 {
		t.Errorf("%d events, want 1", seen)
	}
}

// TestKernelEventsSyncGivesUp: without Run, or if it takes too long, Sync returns
// false.
func TestKernelEventsSyncGivesUp(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	_, control := n.control(ipv4, false)
	e := n.listenEvents(eventBuffer)
	if !e.Sync(0) {
		t.Error("there is nothing to wait for")
	}
	must(t, n.dial().Claim(Claim{Original: control.shift(), Master: control, Mark: controlMark, Timeout: time.Minute}))
	if e.Sync(time.Millisecond) {
		t.Error("an event was handled without Run")
	}
	seen := 0
	must(t, e.Drain(func(*Event) { seen++ }))
	if seen != 1 || !e.Sync(0) {
		t.Errorf("%d events drained, want 1", seen)
	}
}

// TestKernelEventsSyncIsBounded: in a flood of events Sync handles no more than
// it has time for.
func TestKernelEventsSyncIsBounded(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	_, control := n.control(ipv4, false)
	e := n.listenEvents(eventBuffer)
	c := n.dial()
	x := Claim{Original: control.shift(), Master: control, Mark: controlMark, Timeout: time.Minute}
	const times = 20
	for range times {
		must(t, c.Claim(x))
		must(t, c.Delete(x.Original))
	}
	seen := 0
	e.handle = func(*Event) { seen++; time.Sleep(2 * time.Millisecond) }
	<-e.turn // as if Run was called
	if e.Sync(20 * time.Millisecond) {
		t.Error("Sync reports that all are handled")
	}
	if seen > receiveBatch { // or none, if a busy machine had no processor for it so long
		t.Errorf("%d events in 20 ms, want %d", seen, receiveBatch)
	}
	if !e.Sync(20*time.Second) || seen != 2*times {
		t.Errorf("%d events, want %d", seen, 2*times)
	}
}

// The ports can be changed while events arrive, up to the maximum number.
func TestKernelEventsOfOtherPorts(t *testing.T) {
	many := make([]PortRange, maxFilterRanges)
	for i := range many {
		many[i] = PortRange{uint16(20000 + 4*i), uint16(20001 + 4*i)}
	}
	many[len(many)-1] = PortRange{controlPort, controlPort}
	for _, tc := range []struct {
		name  string
		ports []PortRange
		pass  bool
	}{
		{"none", nil, false},
		{"below", []PortRange{{1, controlPort - 1}}, false},
		{"above", []PortRange{{controlPort + 1, 65535}}, false},
		{"lowest", []PortRange{{controlPort, 65535}}, true},
		{"highest", []PortRange{{1, controlPort}}, true},
		{"second", []PortRange{{1, 2}, {controlPort, controlPort}}, true},
		{"many", many, true},
		{"others", many[:len(many)-1], false},
		{"too many", append(many[:len(many)-1:len(many)-1], PortRange{1, 2}, PortRange{4, 5}), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNetwork(t, carrierNone, false, false)
			e := n.listenEvents(eventBuffer)
			must(t, e.SetPorts(tc.ports))
			_, control := n.control(ipv4, false)
			got := false
			e.Drain(func(ev *Event) { got = got || ev.Entry.Original == control })
			if got != tc.pass {
				t.Errorf("events of a connection to port %d: %v, want %v", controlPort, got, tc.pass)
			}
		})
	}
}
