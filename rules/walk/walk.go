// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"
)

// A Verdict is the fate of a simulated packet.
type Verdict uint8

const (
	// Accept: every rule that may end the packet's way accepts it.
	Accept Verdict = iota

	// Drop: it cannot pass.
	Drop

	// Unsure: it depends on an unknown property of the packet, or on an unknown
	// expression.
	Unsure
)

// An Outcome is a possible end of a packet's way through a base chain.
type Outcome struct {
	Verdict Verdict  // Unsure for a rule that hands the packet to another program
	At      RuleRef  // Handle 0: the policy of the base chain, or a rule of ours that is not installed yet
	Policy  bool     // by policy
	Ours    bool     // by a rule of pasvport
	Past    bool     // it does not traverse the base chain, which is bound to devices
	Depends []string // unknown properties that the rule depends on
	After   []string // unknown properties on which earlier rules depended that may have ended the way
	If      string   // OnlyTranslated or OnlyUntranslated, if that decides
}

// A ChainWalk is a packet's way through one base chain.
type ChainWalk struct {
	Base     ChainRef
	Hook     Hook
	Priority int32
	Outcomes []Outcome // at least one, in the order of the rules
}

// Verdict is what all outcomes agree on.
func (w ChainWalk) Verdict() Verdict {
	v := w.Outcomes[0].Verdict
	for _, o := range w.Outcomes {
		if o.Verdict != v {
			return Unsure
		}
	}
	return v
}

// Verdicts is the combined verdict of base chains that a packet traverses one
// after the other. Without any it is accepted.
func Verdicts(walks []ChainWalk) Verdict {
	v := Accept
	for _, w := range walks {
		switch w.Verdict() {
		case Drop:
			return Drop
		case Unsure:
			v = Unsure
		}
	}
	return v
}

// Walk sends p through the base chains of a hook, with the rules that a daemon
// with the configuration c puts into the administrator's chains, whether or not
// they are installed. Our own table is left out: it drops no FTP. A base chain is
// walked even if one before it drops the packet, so that everything that has to
// be changed is seen at once.
func (r *Ruleset) Walk(h Hook, p Packet, c Config) []ChainWalk {
	return r.Follow([]Hook{h}, p, c)
}

// Follow sends p through the hooks of a path, one after the other. Marks that a
// rule sets stay with it. Where it is not known whether its connection is
// translated, it goes both ways, and outcomes that differ depend on that.
func (r *Ruleset) Follow(path []Hook, p Packet, c Config) []ChainWalk {
	c = c.WithDefaults()
	variants := p.variants()
	walks := r.follow(path, &variants[0], c)
	if len(variants) == 1 {
		return walks
	}
	for i, other := range r.follow(path, &variants[1], c) {
		walks[i].join(other)
	}
	return walks
}

func (r *Ruleset) follow(path []Hook, p *Packet, c Config) (walks []ChainWalk) {
	for _, h := range path {
		for _, base := range r.bases(h, p.Family, false) {
			if r.Ours(base.ref.Family, base.ref.Table) {
				continue
			}
			p.place(h, base.priority)
			w := walk{set: r, packet: p, hook: h, cfg: c}
			reached, depends := base.receives(p)
			if reached == no {
				continue
			}
			if w.through(base, reached, depends, 0) != no {
				w.end(Outcome{Verdict: policy(base.drop), At: RuleRef{Chain: base.ref}, Policy: true, Depends: depends})
			}
			if reached == maybe {
				w.end(Outcome{Verdict: Accept, At: RuleRef{Chain: base.ref}, Past: true, Depends: depends})
			}
			walks = append(walks, ChainWalk{base.ref, h, base.priority, w.outcomes})
		}
	}
	return walks
}

// receives reports whether a packet reaches a base chain that is bound to
// devices.
func (c *walkChain) receives(p *Packet) (t truth, depends []string) {
	switch {
	case c.hook != HookIngress:
		return yes, nil
	case p.In == "":
		return maybe, []string{"iifname"}
	}
	return certain(slices.Contains(c.devices, p.In)), nil
}

// join adds the outcomes of the same packet when it is translated. Outcomes of
// both do not depend on that.
func (w *ChainWalk) join(other ChainWalk) {
	if w.Verdict() == other.Verdict() && w.Verdict() != Unsure {
		return
	}
	same := func(list []Outcome, o Outcome) bool {
		return slices.ContainsFunc(list, func(x Outcome) bool { return x.At == o.At && x.Verdict == o.Verdict && x.Policy == o.Policy })
	}
	depending := func(o Outcome, only string) Outcome {
		o.Depends, o.If = append(slices.Clone(o.Depends), DependsTranslation), only
		return o
	}
	var list []Outcome
	for _, o := range w.Outcomes {
		if !same(other.Outcomes, o) {
			o = depending(o, OnlyUntranslated)
		}
		list = append(list, o)
	}
	for _, o := range other.Outcomes {
		if !same(w.Outcomes, o) {
			list = append(list, depending(o, OnlyTranslated))
		}
	}
	w.Outcomes = list
}

func policy(drop bool) Verdict {
	if drop {
		return Drop
	}
	return Accept
}

// A walk is a packet on its way through a base chain.
type walk struct {
	set      *Ruleset
	packet   *Packet
	hook     Hook
	cfg      Config
	steps    int
	outcomes []Outcome
	nat      []translated // in chains of type nat
	after    []string     // unknown properties on which rules so far depended that may have ended the way
}

// Limits of a walk: the kernel's own limit of nested jumps (NFT_JUMP_STACK_SIZE),
// and a number of rules that takes seconds.
const (
	maxJumps = 16
	maxSteps = 500_000
)

// end records an outcome once, with its surest verdict.
func (w *walk) end(o Outcome) {
	o.After = slices.Clone(w.after)
	for i := range w.outcomes {
		old := &w.outcomes[i]
		if old.At == o.At && old.Verdict == o.Verdict && old.Policy == o.Policy && old.Past == o.Past {
			if len(o.Depends) == 0 {
				old.Depends = nil
			}
			return
		}
	}
	w.outcomes = append(w.outcomes, o)
}

// through walks a chain that the packet reaches surely or perhaps, depending on
// depends. It returns whether the packet leaves the chain at its end.
func (w *walk) through(c *walkChain, reached truth, depends []string, depth int) (falls truth) {
	if w.assumed(c) {
		w.end(Outcome{Verdict: Accept, At: RuleRef{Chain: c.ref}, Ours: true, Depends: depends})
		return no
	}
	live := reached
	for i := range c.rules {
		rule := &c.rules[i]
		at := RuleRef{c.ref, rule.handle}
		if w.ours(rule) {
			if w.packet.Expected && w.packet.SYN {
				w.end(Outcome{Verdict: Accept, At: at, Ours: true, Depends: depends})
				return falls
			}
			continue
		}
		if w.steps++; w.steps > maxSteps || depth > maxJumps {
			w.end(Outcome{Verdict: Unsure, At: at, Depends: []string{"more rules than can be followed"}})
			return falls
		}
		j := w.set.judge(c, rule, w.packet, w.hook)
		if j.match == no {
			continue
		}
		w.change(j, min(live, j.match))
		w.translate(j, min(live, j.match))
		if len(j.branches) == 0 {
			continue
		}
		goesOn, leaves := w.branch(c, at, j, live, depends, depth)
		if goesOn == maybe {
			w.after = union(w.after, j.depends)
		}
		falls = max(falls, leaves)
		if live = min(live, goesOn); live == no {
			return falls
		}
	}
	return max(falls, live)
}

// branch follows the verdicts of a rule. goesOn reports whether the packet
// reaches the next rule, leaves whether it leaves the chain.
func (w *walk) branch(c *walkChain, at RuleRef, j judgement, live truth, depends []string, depth int) (goesOn, leaves truth) {
	depends = union(depends, j.depends)
	sure := no
	for _, b := range j.branches {
		sure = max(sure, b.truth)
		t := min(live, j.match, b.truth)
		switch b.verdict.code {
		case verdictAccept:
			w.end(Outcome{Verdict: Accept, At: at, Depends: depends})
		case verdictDrop:
			w.end(Outcome{Verdict: Drop, At: at, Depends: depends})
		case verdictReturn:
			leaves = max(leaves, t)
		case verdictJump, verdictGoto:
			falls := t
			if to := w.set.chains[ChainRef{Family: c.ref.Family, Table: c.ref.Table, Chain: b.verdict.chain}]; to != nil {
				falls = w.through(to, t, depends, depth+1)
			}
			if b.verdict.code == verdictJump {
				goesOn = max(goesOn, falls)
			} else {
				leaves = max(leaves, falls)
			}
		default:
			w.end(Outcome{Verdict: Unsure, At: at, Depends: depends})
		}
	}
	if min(j.match, sure) == maybe {
		goesOn = max(goesOn, maybe)
	}
	return goesOn, leaves
}

// union appends to a list what it lacks of another; it does not modify the list.
func union(list, more []string) []string {
	list = slices.Clone(list)
	for _, m := range more {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// Rated reports whether only amounts, such as a rate, decide about an outcome: it
// happens if there are too many packets or connections, and not otherwise.
func (o Outcome) Rated() bool {
	all := union(o.Depends, o.After)
	return len(all) > 0 && !slices.ContainsFunc(all, func(on string) bool { return !amount(on) })
}

// translate records what a rule does to the packet's destination.
func (w *walk) translate(j judgement, t truth) {
	for _, e := range j.effects {
		if e.kind == effectDNAT {
			w.nat = append(w.nat, translated{t, PortRange{Low: e.low, High: e.high}})
		}
	}
}

// ours reports whether a daemon of this configuration has put a rule into an
// administrator's chain.
func (w *walk) ours(r *walkRule) bool { return r.comment == w.cfg.Comment() }

// assumed reports whether c will get a rule of ours at its head, not installed
// yet, that accepts the packet.
func (w *walk) assumed(c *walkChain) bool {
	if !w.packet.Expected || !w.packet.SYN || !slices.Contains(w.cfg.Chains, c.ref) {
		return false
	}
	return !slices.ContainsFunc(c.rules, func(r walkRule) bool { return w.ours(&r) })
}

// change applies what a rule surely does to the packet; what it may do makes the
// marks unknown.
func (w *walk) change(j judgement, t truth) {
	for _, e := range j.effects {
		v := e.value
		if t != yes {
			v = unknown(v.name, 4)
		}
		switch e.kind {
		case effectMark:
			v.name = "meta mark"
			w.packet.mark = &v
		case effectCtMark:
			v.name = "ct mark"
			w.packet.ctMark = &v
		}
	}
}
