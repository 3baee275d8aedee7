// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// Options are the input of Run.
type Options struct {
	Files []string      // a capture, or those of both sides of a firewall
	NAT   []Translation // of one capture
	// Config has the control ports and the engine's settings.
	Config config.Config
}

// run is the state of Run.
type run struct {
	Options
	out      func(*Record) error
	err      error
	policy   ftpalg.Policy
	policies []ftpalg.Policy

	twice    map[flow]sides
	flows    map[flow]*session
	sessions []*session
	open     []*expected
	skips    []*skipped
	begin    time.Time
	now      time.Time
	seen     bool
}

// expected is a data connection that was offered.
type expected struct {
	session *session
	packet  int
	file    int
	offer   *Offer
}

// skipped are packets that were skipped for one reason.
type skipped struct {
	file   int
	reason string
	first  []int
	count  int
}

// Run passes what the engine finds in the captures to out, record by record.
func Run(o Options, out func(*Record) error) error {
	r := newRun(o, out)
	p := &pairs{run: r, seen: map[flow]*handshake{}}
	if err := read(o.Files, make([]time.Duration, len(o.Files)), p.see); err != nil {
		return err
	}
	var ahead []time.Duration
	r.twice, ahead = p.match(len(o.Files))
	if err := read(o.Files, ahead, r.frame); err != nil {
		return err
	}
	return r.finish()
}

func newRun(o Options, out func(*Record) error) *run {
	r := &run{Options: o, out: out, flows: map[flow]*session{}, policy: o.Config.Policy()}
	for _, p := range o.Config.Policies {
		own := p.Config.Policy()
		own.External = r.policy.External
		r.policies = append(r.policies, own)
	}
	return r
}

// control reports whether a port is a control port.
func (r *run) control(port uint16) bool { return r.Config.ControlPort(port) }

// policyFor returns the policy of a connection.
func (r *run) policyFor(s sides) *ftpalg.Policy {
	for i := range r.Config.Policies {
		if r.Config.Policies[i].Matches(s.client.server.Port(), s.client.client.Addr(), s.server.server.Addr()) {
			return &r.policies[i]
		}
	}
	return &r.policy
}

// say outputs a record about a frame or the end of the capture.
func (r *run) say(f *frame, rec Record) {
	if f != nil {
		rec.Packet = f.number
		if len(r.Files) > 1 {
			rec.File = f.file + 1
		}
	}
	rec.Time = r.now.Sub(r.begin).Seconds()
	if r.err == nil {
		r.err = r.out(&rec)
	}
}

// frame handles one packet of a capture.
func (r *run) frame(f *frame) error {
	if !r.seen {
		r.seen, r.begin = true, f.time
	}
	r.now = f.time
	if f.skip != "" {
		r.skip(f, f.skip)
		return r.err
	}
	fl, original, ok := r.flowOf(&f.tcp)
	if !ok {
		r.data(f)
		return r.err
	}
	s := r.sessionOf(f, fl, original)
	d, mine := ftpalg.Reply, s.sides.server
	if original {
		d, mine = ftpalg.Original, s.sides.client
	}
	switch both, twice := r.twice[fl]; {
	case twice && both.client != both.server && mine != fl:
		r.skip(f, "the same packet on the other side")
	case s.echo(d, f):
		r.skip(f, "the same packet one hop further")
	default:
		s.packet(f, d)
	}
	return r.err
}

// sessionOf returns the session of a packet, a new one if it begins one.
func (r *run) sessionOf(f *frame, fl flow, original bool) *session {
	begins := original && f.tcp.Flags&(nfq.FlagSYN|nfq.FlagACK) == nfq.FlagSYN
	both, ok := r.twice[fl]
	if !ok {
		both = translated(fl, r.NAT)
	}
	s := r.flows[fl]
	if s != nil && !(begins && s.over) {
		return s
	}
	s = &session{run: r, number: len(r.sessions) + 1, sides: both, engine: newEngine(both, r.policyFor(both), begins)}
	r.sessions = append(r.sessions, s)
	r.flows[fl] = s
	if ok {
		r.flows[both.client], r.flows[both.server] = s, s
	}
	text := "seen from its start"
	if !begins {
		text = "its start is not in the capture"
	}
	if s.opaque = r.Config.EncryptedPort(both.client.server.Port()); s.opaque {
		text += ", encrypted"
	}
	ends := &Ends{both.client.client, both.client.server, both.server.server, both.server.client}
	r.say(f, Record{Session: s.number, Kind: KindSession, Text: text, Ends: ends})
	return s
}

// maxNamed is how many of the skipped packets are named.
const maxNamed = 8

func (r *run) skip(f *frame, reason string) {
	i := slices.IndexFunc(r.skips, func(s *skipped) bool { return s.reason == reason && s.file == f.file })
	if i < 0 {
		i = len(r.skips)
		r.skips = append(r.skips, &skipped{file: f.file, reason: reason})
	}
	s := r.skips[i]
	if s.count++; len(s.first) < maxNamed {
		s.first = append(s.first, f.number)
	}
}

// expect waits for the data connection of an offer, in place of the one before.
func (r *run) expect(f *frame, s *session, o *Offer) {
	r.forget(s)
	r.open = append(r.open, &expected{s, f.number, f.file, o})
}

// forget stops waiting, and reports what was not used.
func (r *run) forget(s *session) {
	r.open = slices.DeleteFunc(r.open, func(e *expected) bool {
		if e.session == s {
			r.say(nil, Record{Session: s.number, Kind: KindUnused, Reason: "no data connection in the capture", Offer: e.offer,
				Text: "offered in packet " + r.name(e.file, e.packet)})
		}
		return e.session == s
	})
}

// name is a packet's number in the output.
func (r *run) name(file, number int) string {
	if len(r.Files) > 1 {
		return fmt.Sprintf("%d/%d", file+1, number)
	}
	return fmt.Sprint(number)
}

// data checks whether a packet begins a data connection that was offered.
func (r *run) data(f *frame) {
	p := &f.tcp
	if p.Flags&(nfq.FlagSYN|nfq.FlagACK) != nfq.FlagSYN {
		return
	}
	i := slices.IndexFunc(r.open, func(e *expected) bool {
		// After translation the packet has other addresses on either side.
		sources := []netip.Addr{e.offer.Source, e.session.sides.server.client.Addr(), e.session.sides.client.server.Addr()}
		return (p.Dst == e.offer.Public || p.Dst == e.offer.Target || p.Dst == e.offer.Announced) && slices.Contains(sources, p.Src.Addr())
	})
	if i < 0 {
		return
	}
	e := r.open[i]
	r.open = slices.Delete(r.open, i, i+1)
	r.say(f, Record{Session: e.session.number, Kind: KindData,
		Text: fmt.Sprintf("%s to %s, offered in packet %s", p.Src, p.Dst, r.name(e.file, e.packet))})
}

// finish reports what remains at the end of the captures.
func (r *run) finish() error {
	for _, s := range r.sessions {
		s.unfinished()
		r.forget(s)
	}
	for _, s := range r.skips {
		rec := Record{Kind: KindSkipped, Reason: s.reason, Packets: s.first, Count: s.count}
		if len(r.Files) > 1 {
			rec.File = s.file + 1
		}
		r.say(nil, rec)
	}
	return r.err
}
