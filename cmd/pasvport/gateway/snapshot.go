// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"os"
	"slices"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/ledger"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
)

// Status returns the state of the daemon, for `pasvport status`.
func (g *Gateway) Status() control.Status {
	set := g.settings()
	st := control.Status{
		PID: os.Getpid(), Started: g.started, Table: g.cfg.Table, Ports: set.PortList(),
		Allow: set.AllowText(), Fail: failText(g.cfg), Strategy: string(g.plan.Strategy),
		Carrier: g.plan.Carrier.String(), QueueKind: g.plan.Queue.String(),
		Features: g.plan.found.Names(), Sessions: g.present.Living(),
		PinholesOpen: int(g.metrics.Pinholes.Open.Load()), Decisions: g.metrics.Decisions(),
	}
	st.TLS, st.TLSPorts, st.Checks, st.Repair = set.TLSText(), set.TLSPortList(), set.Checks.String(), set.Repair.String()
	st.Advertise, st.CTMark, st.Limits = set.AdvertiseList(), set.MarkText(), g.limits()
	st.LoginFailures, st.Blocked = set.LoginFailures.String(), g.blocked()
	st.Keepalive, st.SessionIdle, st.Heals = config.IdleText(set.Keepalive), config.IdleText(set.SessionIdle), g.metrics.Heals.Load()
	if g.noSender != nil {
		st.KeepaliveError = g.noSender.Error()
	}
	st.Queues = g.queues()
	if g.zoned.Load() && g.plan.rules.OneZone {
		st.Notes = append(st.Notes, "control connections in conntrack zones are left alone: "+noZones)
	}
	st.Expectations, st.ExpectationsMax = expectations()
	if g.fast != nil {
		st.LinesUnread = g.fast.Lines()
	}
	return st
}

// Sessions returns the control connections, for `pasvport sessions`.
func (g *Gateway) Sessions() []control.Session {
	g.countBytes()
	list := []control.Session{}
	seen := map[*session]bool{} // one that is being taken over may be found twice
	for _, w := range g.holders() {
		for _, s := range w.table.all() {
			if !seen[s] {
				seen[s] = true
				c := s.snapshot()
				if c.State == stateClosed { // conntrack keeps its entry for minutes
					continue
				}
				g.addData(&c, s)
				list = append(list, c)
			}
		}
	}
	slices.SortFunc(list, func(a, b control.Session) int { return a.Started.Compare(b.Started) })
	return list
}

// Servers returns the servers of virtual servers, for `pasvport servers`.
func (g *Gateway) Servers() []control.Server { return g.balancer.Servers() }

// Drain takes a server of virtual servers out, or puts it back.
func (g *Gateway) Drain(name string, drain bool) error { return g.balancer.Drain(name, drain) }

func (s *session) snapshot() control.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := control.Session{
		ID: uint64(s.id), Client: s.ep.Client, Dialled: s.ep.Dialled, Server: s.ep.Server, SeenAs: s.ep.SeenAs,
		NAT: s.nat(), State: stateWords[s.state], Mode: modes[s.mode], Strategy: "claim", Started: s.started,
		Opaque: s.left != succession.LeftNot, Encrypted: s.left == succession.LeftEncrypted, Note: s.note, Zone: s.zone[expect.Original],
	}
	if s.carrier {
		c.Strategy = "expectation"
	}
	if s.offer != nil {
		o := s.offer.Offer
		if s.offer.pinhole != nil {
			o.Pinhole = pinholeWords[s.offer.pinhole.State()]
		}
		c.Offer = &o
	}
	c.Login = ledger.LoginNone.String()
	if l := s.ledger; l != nil {
		c.LastCommand, c.Login = l.Last().String(), l.Login().String()
		if l.Login() == ledger.LoginAccepted {
			c.User = l.User()
		}
		for _, v := range l.Recent() {
			c.RecentCommands = append(c.RecentCommands, v.String())
		}
	}
	return c
}

// addData adds what the data connections of a session have carried.
func (g *Gateway) addData(c *control.Session, s *session) {
	t := g.pinholes.Data.Traffic(&s.owner)
	c.Data = control.Data{Connections: int(t.Connections), BytesOriginal: t.Bytes[0], BytesReply: t.Bytes[1], Accounting: t.Accounting}
	c.BytesUp, c.BytesDown = t.Payload.Upload, t.Payload.Download
	c.Transferring = s.owner.Transferring()
	if c.Idle = control.Duration(time.Since(s.lastPacket())); c.Transferring {
		c.Idle = 0
	}
}

func (s *session) nat() control.NAT {
	src, dst := s.ep.Client != s.ep.SeenAs, s.ep.Dialled != s.ep.Server
	switch {
	case src && dst:
		return control.NATBoth
	case src:
		return control.NATSrc
	case dst:
		return control.NATDst
	}
	return control.NATNone
}

func failText(cfg config.Config) string {
	if cfg.FailClosed {
		return "closed"
	}
	return "open"
}

// queues returns the numbers of all queues.
func (g *Gateway) queues() []control.Queue {
	kernel := kernelQueues()
	var list []control.Queue
	for _, w := range g.workers {
		list = append(list, g.queueNumbers(w, kernel))
	}
	return list
}

func (g *Gateway) queueNumbers(w *worker, kernel map[uint16]nfq.QueueStats) control.Queue {
	n, k := w.queue.Stats(), kernel[w.queue.Num()]
	return control.Queue{
		Num: w.queue.Num(), Packets: n.Packets, Waiting: uint64(k.Queued), Dropped: k.QueueDropped + k.UserDropped,
		ENOBUFS: n.ENOBUFS, Errors: n.Errors + n.Malformed,
	}
}

// kernelQueues returns what the kernel tells of its queues. It tells root
// only; what is missing is zero.
func kernelQueues() map[uint16]nfq.QueueStats {
	list, err := nfq.ReadQueueStats()
	if err != nil {
		return nil
	}
	byNum := map[uint16]nfq.QueueStats{}
	for _, q := range list {
		byNum[q.Num] = q
	}
	return byNum
}

const stateClosed = "closed"

// stateWords are the words of status and logs for the states of conntrack.
var stateWords = map[uint8]string{
	expect.TCPStateEstablished: "established", expect.TCPStateFinWait: "closing", expect.TCPStateCloseWait: "closing",
	expect.TCPStateLastAck: "closing", expect.TCPStateTimeWait: stateClosed, expect.TCPStateClose: stateClosed,
}
