// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pasvport/pasvport/nfq"
)

// A flow is a control connection as one place of capture sees it: the client's
// side of the firewall, or the server's.
type flow struct{ client, server netip.AddrPort }

// flowOf returns the flow of a segment and whether the client sent it; ok is
// false if neither port is a control port. known are flows whose client is
// certain.
func (r *run) flowOf(p *nfq.Packet) (f flow, original, ok bool) {
	to, from := flow{p.Src, p.Dst}, flow{p.Dst, p.Src}
	toControl, fromControl := r.control(p.Dst.Port()), r.control(p.Src.Port())
	switch {
	case !toControl && !fromControl:
		return flow{}, false, false
	case toControl && fromControl: // as with an active server on port 20 and a range of ports
		switch {
		case p.Flags&(nfq.FlagSYN|nfq.FlagACK) == nfq.FlagSYN:
			return to, true, true
		case r.flows[from] != nil, p.Flags&nfq.FlagSYN != 0:
			return from, false, true
		}
		return to, true, true
	case toControl:
		return to, true, true
	}
	return from, false, true
}

// A handshake is what the two ends of a connection agreed upon. No translation
// changes the numbers, so they show which flows are one connection.
type handshake struct {
	file         int
	numbers      [2]uint32 // of the SYN and of its answer
	syn, answer  time.Time
	asked, ready bool
}

// pairs finds connections that the captures contain twice, once on either side of
// a translation.
type pairs struct {
	run   *run
	seen  map[flow]*handshake
	order []flow
}

// see handles the packets of handshakes.
func (s *pairs) see(f *frame) error {
	p := &f.tcp
	if f.skip != "" || p.Flags&nfq.FlagSYN == 0 {
		return nil
	}
	fl, original, ok := s.run.flowOf(p)
	if !ok {
		return nil
	}
	h := s.seen[fl]
	if h == nil {
		h = &handshake{file: f.file}
		s.seen[fl] = h
		s.order = append(s.order, fl)
	}
	switch {
	case original && !h.asked:
		h.asked, h.numbers[0], h.syn = true, p.Seq, f.time
	case !original && h.asked && !h.ready && p.Ack == h.numbers[0]+1:
		h.ready, h.numbers[1], h.answer = true, p.Seq, f.time
	}
	return nil
}

// sides is a connection as its client and as its server see it.
type sides struct{ client, server flow }

// match returns the connections that are there twice, by either flow, and how
// much the clock of each capture is ahead of the first one's.
func (s *pairs) match(files int) (map[flow]sides, []time.Duration) {
	ahead := make([]time.Duration, files)
	known := make([]bool, files)
	twice := map[flow]sides{}
	alone := map[[2]uint32][]flow{}
	for _, fl := range s.order {
		h := s.seen[fl]
		if !h.ready {
			continue
		}
		same := alone[h.numbers]
		i := slices.IndexFunc(same, func(other flow) bool { return s.seen[other].around(h) || h.around(s.seen[other]) })
		if i < 0 {
			alone[h.numbers] = append(same, fl)
			continue
		}
		other := same[i]
		alone[h.numbers] = slices.Delete(same, i, i+1)
		o := s.seen[other]
		sd := sides{client: other, server: fl}
		if !o.around(h) {
			sd = sides{client: fl, server: other}
		}
		twice[fl], twice[other] = sd, sd
		if !known[h.file] && h.file != o.file {
			known[h.file] = true
			ahead[h.file] = (h.syn.Sub(o.syn) + h.answer.Sub(o.answer)) / 2
		}
	}
	return twice, ahead
}

// around reports whether a handshake may be another one as the client's side sees
// it, which sees the SYN first and the answer last. Of another capture's clock
// only durations can be trusted.
func (h *handshake) around(o *handshake) bool {
	if h.file == o.file {
		return !h.syn.After(o.syn) && !h.answer.Before(o.answer)
	}
	return h.answer.Sub(h.syn) >= o.answer.Sub(o.syn)
}

// Translation is an address that a firewall translates, in either direction.
type Translation struct{ Inside, Outside netip.Addr }

// translated returns both sides of a flow of which one was captured.
func translated(f flow, list []Translation) sides {
	s := sides{client: f, server: f}
	for _, t := range list {
		switch t.Inside {
		case f.client.Addr():
			s.server.client = netip.AddrPortFrom(t.Outside, f.client.Port())
		case f.server.Addr():
			s.client.server = netip.AddrPortFrom(t.Outside, f.server.Port())
		}
		switch t.Outside {
		case f.client.Addr():
			s.client.client = netip.AddrPortFrom(t.Inside, f.client.Port())
		case f.server.Addr():
			s.server.server = netip.AddrPortFrom(t.Inside, f.server.Port())
		}
	}
	return s
}
