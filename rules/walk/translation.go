// SPDX-License-Identifier: Apache-2.0

package walk

import "slices"

// A Translation is what the ruleset's chains of type nat do to the destination of
// a control connection. Its zero value is: not known.
type Translation struct {
	judged bool
	done   truth
	port   PortRange // the one it goes to then
}

// NoTranslation is that of a connection whose destination stays.
var NoTranslation = Translation{judged: true, done: no}

// May reports whether the destination may be translated.
func (t Translation) May() bool { return !t.judged || t.done != no }

// Translation finds out what becomes of the destination of a connection whose
// first packet p takes a path.
func (r *Ruleset) Translation(path []Hook, p Packet, c Config) Translation {
	h := path[slices.IndexFunc(path, func(h Hook) bool { return h == HookPrerouting || h == HookOutput })]
	c = c.WithDefaults()
	t := Translation{judged: true}
	if len(c.VirtualServers) > 0 {
		t.done = maybe // by us
	}
	p.dnat = no
	for _, base := range r.bases(h, p.Family, true) {
		if r.Ours(base.ref.Family, base.ref.Table) {
			continue
		}
		p.place(h, base.priority)
		w := walk{set: r, packet: &p, hook: h, cfg: c}
		w.through(base, yes, nil, 0)
		if base.kind == "nat" {
			t = t.or(w.nat, p.DstPort)
		}
		if t.done == yes {
			break
		}
	}
	return t
}

// or adds what one more chain does, unless an earlier one has done it.
func (t Translation) or(found []translated, dialled PortRange) Translation {
	for _, f := range found {
		port := f.port
		if port == (PortRange{}) {
			port = dialled
		}
		if t.done != no && t.port != port {
			port = PortRange{Low: 1, High: 65535}
		}
		t.done, t.port = max(t.done, f.truth), port
	}
	return t
}

// A translated is a destination translation that a packet may meet on its way.
type translated struct {
	truth truth
	port  PortRange // the new port, 0-0 if it stays
}

// real is the port that a connection to a dialled one goes to.
func (p *Packet) real(dialled PortRange) PortRange {
	if p.dnat == yes && p.Translation.judged && !p.Expected {
		return p.Translation.port
	}
	return dialled
}

// place puts the packet in front of the chains of a hook with a priority.
func (p *Packet) place(h Hook, priority int32) {
	const priorityUndo = 100 // NF_IP_PRI_NAT_SRC, also where answers get their source back
	p.at = h
	p.raw = h == HookIngress || (h == HookPrerouting || h == HookOutput) && priority < PriorityConntrack
	p.late = h != HookIngress && h != HookPrerouting && h != HookOutput || priority > priorityDNAT
	p.undo = (h == HookPostrouting || h == HookInput) && priority > priorityUndo
}

// sport is the source port where the packet is.
func (p *Packet) sport() value {
	if p.Reply && !p.undo {
		return port2("tcp sport", p.real(p.SrcPort))
	}
	return port2("tcp sport", p.SrcPort)
}

// dport is the destination port where the packet is.
func (p *Packet) dport() value {
	if !p.Reply && p.late {
		return port2("tcp dport", p.real(p.DstPort))
	}
	return port2("tcp dport", p.DstPort)
}

// variants are the packet with its destination translated and not, where it is
// not known which.
func (p Packet) variants() []Packet {
	if !p.Translation.judged {
		p.dnat = maybe
		return []Packet{p}
	}
	if p.dnat = p.Translation.done; p.dnat != maybe {
		return []Packet{p}
	}
	stays, goes := p, p
	stays.dnat, goes.dnat = no, yes
	return []Packet{stays, goes}
}
