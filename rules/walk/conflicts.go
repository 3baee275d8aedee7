// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"slices"

	"github.com/pasvport/pasvport/rules"
)

// A ConflictKind is a way in which another rule interferes with ours.
type ConflictKind uint8

// The kinds of conflicts.
const (
	ConflictHelper  ConflictKind = iota // gives control connections a helper before we do
	ConflictLate                        // gives them one after we do, which the kernel ignores
	ConflictNotrack                     // takes packets out of conntrack
	ConflictFlow                        // offloads control connections past the hooks, with rules.CarrierNone
	ConflictMark                        // overwrites our bits of the ct mark
	ConflictQueue                       // sends packets to one of our queues
	ConflictRead                        // matches differently because of our bits in the ct mark
	ConflictCopy                        // copies our bits of the ct mark into the packet mark
	ConflictZone                        // puts packets into a conntrack zone, with Config.OneZone
	ConflictHook                        // drops, queues or changes packets between conntrack and destination NAT
)

// A Conflict is a rule that is not ours.
type Conflict struct {
	Kind    ConflictKind
	At      RuleRef
	Sure    bool     // otherwise it depends on something unknown
	Depends []string // on what
	Name    string   // of the helper or flowtable
	Queue   uint16   // the first of our queue numbers that it uses
}

// A Neighbour is a base chain of another program between conntrack (-200) and
// destination NAT (-100), where ours are.
type Neighbour struct {
	Chain    ChainRef
	Hook     Hook
	Priority int32
}

// Conflicts looks for rules that interfere with a daemon of configuration c. A
// rule counts if it may match an FTP packet, whatever rules come before it.
func (r *Ruleset) Conflicts(c Config) []Conflict {
	c = c.WithDefaults()
	var found []Conflict
	for _, ref := range r.Chains() {
		chain := r.chains[ref]
		if r.Ours(ref.Family, ref.Table) || ref.Family != FamilyINet && ref.Family != FamilyIPv4 && ref.Family != FamilyIPv6 {
			continue
		}
		for i := range chain.rules {
			rule := &chain.rules[i]
			if rule.comment == c.Comment() {
				continue
			}
			found = append(found, r.conflictsOf(chain, rule, c)...)
		}
	}
	return found
}

// conflictsOf tries a rule on each kind of packet, and keeps the surest finding
// of each kind.
func (r *Ruleset) conflictsOf(chain *walkChain, rule *walkRule, c Config) []Conflict {
	var found []Conflict
	add := func(n Conflict) {
		for i := range found {
			if found[i].Kind == n.Kind {
				if n.Sure && !found[i].Sure {
					found[i] = n
				}
				return
			}
		}
		found = append(found, n)
	}
	order, sure := r.helperOrder(chain, rule, c)
	for _, f := range []Family{FamilyIPv4, FamilyIPv6} {
		if !chain.ref.Family.Has(f) {
			continue
		}
		hook := HookForward
		if chain.base {
			hook = chain.hook
		}
		if r.readsMark(chain, rule, f, hook, c) {
			add(Conflict{Kind: ConflictRead, At: RuleRef{chain.ref, rule.handle}})
		}
		for _, t := range trials(f, c) {
			p := t.packet
			mark := unknown("meta mark", 4) // not followed from rule to rule here
			p.mark = &mark
			j := r.judge(chain, rule, &p, hook)
			if j.match == no {
				continue
			}
			for _, n := range t.conflicts(chain, j, order, c) {
				n.At, n.Sure, n.Depends = RuleRef{chain.ref, rule.handle}, j.match == yes, j.depends
				if n.Kind == ConflictHelper && !sure {
					n.Sure, n.Depends = false, union(n.Depends, []string{"the order of chains of one priority"})
				}
				add(n)
			}
		}
	}
	return found
}

// priorityOurs is the priority of the chains that give control connections their
// carrier.
const priorityOurs = -150

// helperOrder reports whether a rule that gives a helper comes before ours, and
// whether that is sure: chains of one priority have no order. The kernel gives a
// connection one helper or help extension, the first that a rule asks for
// (nft_ct_helper_obj_eval), so one after our carrier is ignored.
func (r *Ruleset) helperOrder(chain *walkChain, rule *walkRule, c Config) (order ConflictKind, sure bool) {
	if c.Carrier == rules.CarrierNone || !slices.ContainsFunc(rule.exprs, func(e walkExpr) bool { return e.name == "objref" || e.name == "target" }) {
		return ConflictHelper, true
	}
	order = ConflictLate
	for _, base := range r.reachedFrom(chain) {
		if base.hook == HookPrerouting || base.hook == HookOutput {
			if base.priority < priorityOurs {
				return ConflictHelper, true
			}
			if base.priority == priorityOurs {
				order = ConflictHelper
			}
		}
	}
	return order, false
}

// readsMark reports whether a rule treats a control connection differently
// because of our bit, as a comparison of the whole ct mark does. A rule that
// tests for our bit does so on purpose.
func (r *Ruleset) readsMark(chain *walkChain, rule *walkRule, f Family, hook Hook, c Config) bool {
	without := ControlEstablished(f, c.Ports[0], 0)
	without.MarkMask = c.Mark
	with := without
	with.Mark = c.Mark
	before := r.judge(chain, rule, &without, hook)
	return before.match != no && before.match != r.judge(chain, rule, &with, hook).match
}

// A trial is a packet on which a rule is tried.
type trial struct {
	packet Packet
	data   bool
}

func trials(f Family, c Config) []trial {
	var list []trial
	for _, ports := range c.Ports {
		list = append(list,
			trial{packet: ControlSYN(f, ports)}, trial{packet: ControlEstablished(f, ports, c.Mark)},
			trial{packet: ControlReply(f, ports, c.Mark)})
	}
	for _, from := range openers(c.Ports) {
		syn, later := DataSYN(f, 1024, c.Mark), DataEstablished(f, 1024, c.Mark)
		syn.SrcPort, later.SrcPort = from, from
		list = append(list, trial{syn, true}, trial{reply(later), true})
	}
	return list
}

// openers are the ports from which data connections are usually opened: any of a
// client, and in active mode the one before the control port (RFC 959 section
// 3.2). A server that uses another privileged port is not worth a doubt about
// each rule that names a port.
func openers(control []PortRange) []PortRange {
	list := []PortRange{ephemeral}
	for _, r := range control {
		list = append(list, PortRange{Low: max(r.Low, 1) - 1, High: max(r.High, 1) - 1})
	}
	return list
}

// conflicts are the effects of a rule that interfere with us.
func (t trial) conflicts(chain *walkChain, j judgement, order ConflictKind, c Config) []Conflict {
	var found []Conflict
	for _, e := range j.effects {
		switch {
		case e.kind == effectHelper && !t.data && t.packet.SYN:
			found = append(found, Conflict{Kind: order, Name: e.name})
		case e.kind == effectNotrack:
			found = append(found, Conflict{Kind: ConflictNotrack})
		case e.kind == effectZone && c.OneZone:
			found = append(found, Conflict{Kind: ConflictZone})
		case e.kind == effectFlow && !t.data && c.Carrier == rules.CarrierNone:
			// An entry with a help extension, which both carriers are, is never
			// offloaded (nft_flow_offload_eval).
			found = append(found, Conflict{Kind: ConflictFlow, Name: e.name})
		case e.kind == effectCtMark && t.packet.Mark != 0 && !keeps(e.value, t.packet.Mark, c.Mark):
			found = append(found, Conflict{Kind: ConflictMark})
		case e.kind == effectMark && carries(e.value, t.packet.Mark):
			found = append(found, Conflict{Kind: ConflictCopy})
		case e.kind == effectQueue && int(e.high) >= int(c.QueueNum) && int(e.low) < int(c.QueueNum)+c.Queues:
			found = append(found, Conflict{Kind: ConflictQueue, Queue: max(e.low, c.QueueNum)})
		}
	}
	if r := neighbourHook(chain); r && !t.data && disturbs(j) {
		found = append(found, Conflict{Kind: ConflictHook})
	}
	return found
}

// keeps reports whether a ct mark still has our bits unchanged.
func keeps(v value, mark, ours uint32) bool {
	if len(v.bits) != 4 {
		return false
	}
	have, sure := binary.NativeEndian.Uint32(v.bits), binary.NativeEndian.Uint32(v.known)
	return sure&ours == ours && (have^mark)&ours == 0
}

// carries reports whether a packet mark surely has our bits of a ct mark.
func carries(v value, ours uint32) bool {
	if ours == 0 || len(v.bits) != 4 {
		return false
	}
	return binary.NativeEndian.Uint32(v.bits)&binary.NativeEndian.Uint32(v.known)&ours != 0
}

// disturbs reports whether a rule does more to a packet than accept it.
func disturbs(j judgement) bool {
	return slices.ContainsFunc(j.branches, func(b branch) bool {
		return b.verdict.code == verdictDrop || b.verdict.code == verdictQueue
	}) || slices.ContainsFunc(j.effects, func(e effect) bool { return e.kind == effectPayload })
}

// neighbourHook reports whether a chain is between conntrack and destination
// NAT, in a hook where ours are.
func neighbourHook(c *walkChain) bool {
	return c.base && c.kind != "nat" && (c.hook == HookPrerouting || c.hook == HookOutput) &&
		c.priority > PriorityConntrack && c.priority < priorityDNAT
}

// Neighbours are the base chains of other programs next to ours.
func (r *Ruleset) Neighbours() []Neighbour {
	var list []Neighbour
	for _, ref := range r.Chains() {
		c := r.chains[ref]
		if neighbourHook(c) && len(c.rules) > 0 && !r.Ours(ref.Family, ref.Table) && (ref.Family.Has(FamilyIPv4) || ref.Family.Has(FamilyIPv6)) {
			list = append(list, Neighbour{ref, c.hook, c.priority})
		}
	}
	return list
}
