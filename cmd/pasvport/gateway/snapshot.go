// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"os"
	"slices"
	"strings"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
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
		Features: g.plan.found.Names(), Sessions: int(g.metrics.Sessions.Load()),
		PinholesOpen: int(g.metrics.Pinholes.Open.Load()), Decisions: g.metrics.Decisions(),
	}
	st.Queues = g.queues()
	if g.zoned.Load() && g.plan.rules.OneZone {
		st.Notes = append(st.Notes, "control connections in conntrack zones are left alone: "+noZones)
	}
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
				c.Data = g.dataOf(s)
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
		NAT: s.nat(), State: stateWords[s.state], Strategy: "claim", Started: s.started, LastCommand: s.lastVerb,
		Opaque: s.left != succession.LeftNot, Note: s.note, Zone: s.zone[expect.Original],
	}
	if s.carrier {
		c.Strategy = "expectation"
	}
	if s.offer != nil {
		o := s.offer.Offer
		if s.offer.pinhole != nil {
			o.Pinhole = pinholeWords[s.offer.pinhole.State()]
		}
		c.Offer, c.Mode = &o, control.ModeActive
		if strings.HasSuffix(o.Verb, "SV") {
			c.Mode = control.ModePassive
		}
	}
	return c
}

func (g *Gateway) dataOf(s *session) control.Data {
	t := g.pinholes.Data.Traffic(&s.owner)
	return control.Data{Connections: int(t.Connections), BytesOriginal: t.Bytes[0], BytesReply: t.Bytes[1], Accounting: t.Accounting}
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

// stateWords are the words of status and logs for the states of conntrack.
var stateWords = map[uint8]string{
	expect.TCPStateEstablished: "established", expect.TCPStateFinWait: "closing", expect.TCPStateCloseWait: "closing",
	expect.TCPStateLastAck: "closing", expect.TCPStateTimeWait: "closed", expect.TCPStateClose: "closed",
}
