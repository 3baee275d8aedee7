// SPDX-License-Identifier: Apache-2.0

package walk

import "slices"

// Translation finds out what happens to the destination of a connection whose
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
