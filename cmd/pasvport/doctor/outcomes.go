// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// A passage is a packet's way through a base chain.
type passage struct {
	walk.ChainWalk
	general map[walk.RuleRef]bool // rules that may drop control connections, too
}

// walk sends a packet along a path.
func (e *examination) walk(p path, packet walk.Packet, w way) []passage {
	e.ends.dress(&packet, w != toClient)
	var list []passage
	for _, walk := range e.set.Follow(p, packet, e.rules) {
		list = append(list, passage{walk, e.general[w]})
	}
	return list
}

// session are the packets of control connections to some ports.
type session struct{ syn, established, reply walk.Packet }

// session makes the packets of a position, with the destination that the nat
// chains give the first.
func (e *examination) session(p position, f rules.Family, ports rules.PortRange) session {
	mark := e.cfg.Control()
	s := session{walk.ControlSYN(f, ports), walk.ControlEstablished(f, ports, mark), walk.ControlReply(f, ports, mark)}
	first := s.syn
	e.ends.dress(&first, true)
	t := e.set.Translation(p.control, first, e.rules)
	s.syn.Translation, s.established.Translation, s.reply.Translation = t, t, t
	return s
}

// exceptions finds the rules that may drop control connections in a position
// before anything accepts them, such as block lists, for each way of packets.
// What they drop has nothing to do with FTP.
func (e *examination) exceptions(p position, f rules.Family) {
	e.general = [3]map[walk.RuleRef]bool{{}, {}, {}}
	note := func(w way, passages []passage) {
		for _, x := range passages {
			for _, o := range x.Outcomes {
				if o.Verdict != walk.Drop || len(o.Depends) == 0 || o.If != "" {
					break
				}
				e.general[w][o.At] = true
			}
		}
	}
	for _, r := range e.cfg.Ports {
		s := e.session(p, f, r)
		note(toServer, e.walk(p.control, s.syn, toServer))
		note(toClient, e.walk(p.back, s.reply, toClient))
	}
	for at := range e.general[toServer] {
		e.general[either][at] = e.general[toClient][at]
	}
}

// excepted reports whether control connections may have this outcome, too, or
// only too many packets have it.
func (x passage) excepted(o walk.Outcome) bool {
	return o.Verdict == walk.Drop && (len(o.Depends) > 0 && x.general[o.At] || o.Rated())
}

// verdict is the verdict of the outcomes that are not excepted.
func verdict(passages []passage) walk.Verdict {
	walks := make([]walk.ChainWalk, len(passages))
	for i, x := range passages {
		walks[i] = x.ChainWalk
		if rest := slices.DeleteFunc(slices.Clone(x.Outcomes), x.excepted); len(rest) > 0 {
			walks[i].Outcomes = rest
		}
	}
	return walk.Verdicts(walks)
}

// fewOutcomes is how many uncertain outcomes with the same verdict are shown.
const fewOutcomes = 3

// seen names the rules that decide. Chains that merely accept by their policy are
// left out, unless there is no other.
func (e *examination) seen(passages []passage) []string {
	var lines []string
	drops := verdict(passages) == walk.Drop
	shown, more := map[walk.Verdict]int{}, map[walk.Verdict]int{}
	for _, x := range passages {
		if x.Verdict() == walk.Accept && (x.Outcomes[0].Policy && len(x.Outcomes) == 1 || drops) {
			continue
		}
		for _, o := range x.Outcomes {
			if len(o.Depends) > 0 {
				if shown[o.Verdict]++; shown[o.Verdict] > fewOutcomes {
					more[o.Verdict]++
					continue
				}
			}
			if line := e.outcome(x, o); !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	for _, v := range []walk.Verdict{walk.Accept, walk.Drop, walk.Unsure} {
		if more[v] > 0 {
			lines = append(lines, fmt.Sprintf("perhaps %s by %d more %s", verb(v), more[v], plural(more[v], "rule")))
		}
	}
	if len(lines) == 0 {
		lines = []string{"no rule is in the way"}
	}
	return lines
}

func verb(v walk.Verdict) string {
	return map[walk.Verdict]string{walk.Accept: "accepted", walk.Drop: "dropped", walk.Unsure: "handed to another program"}[v]
}

// outcome describes a possible end.
func (e *examination) outcome(x passage, o walk.Outcome) string {
	by := verb(o.Verdict) + " by " + e.byWhat(o)
	switch {
	case o.Past:
		return fmt.Sprintf("not seen by %s (depends on %s)", chain(o.At.Chain), strings.Join(o.Depends, ", "))
	case x.excepted(o) && o.Rated():
		return fmt.Sprintf("unless %s, where too many come", by)
	case x.excepted(o):
		return fmt.Sprintf("unless %s, as control connections are (depends on %s)", by, strings.Join(o.Depends, ", "))
	case o.If != "" && len(o.Depends) == 1:
		return fmt.Sprintf("%s (%s)", by, o.If)
	case len(o.Depends) > 0:
		return fmt.Sprintf("%s (cannot tell whether it gets there: depends on %s)", by, strings.Join(o.Depends, ", "))
	}
	return by
}

func (e *examination) byWhat(o walk.Outcome) string {
	switch {
	case o.Policy:
		return "the policy of " + chain(o.At.Chain)
	case o.Ours && o.At.Handle == 0:
		return "the rule that the daemon puts at the head of " + chain(o.At.Chain)
	}
	return e.rule(o.At)
}
