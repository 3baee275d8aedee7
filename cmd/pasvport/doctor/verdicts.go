// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"

	"github.com/pasvport/pasvport/rules"
)

// A path is the hooks that a packet passes.
type path []rules.Hook

var (
	through = path{rules.HookPrerouting, rules.HookForward, rules.HookPostrouting}
	in      = path{rules.HookPrerouting, rules.HookInput}
	out     = path{rules.HookOutput, rules.HookPostrouting}
)

// A position is a place that this host can have in an FTP session.
type position struct {
	name, words string
	control     path // from the client to the server
	back        path
	modes       []mode
}

// A mode is a way in which data connections are opened, with their paths.
type mode struct {
	name      string
	syn, back path
	toServer  bool // the client opens it
}

var positions = []position{
	{"forward", "sessions that pass through this host", through, through, nil},
	{"input", "servers on this host", in, out, []mode{{"passive", in, out, true}, {"active", out, in, false}}},
	{"output", "clients on this host", out, in, []mode{{"passive", out, in, true}, {"active", in, out, false}}},
}

// modesOf are the modes that have to be told apart. For packets that are
// forwarded the two differ only if something is known of the ends.
func (e *examination) modesOf(p position) []mode {
	switch {
	case p.modes != nil:
		return p.modes
	case e.ends == Ends{}:
		return []mode{{"", through, through, true}}
	}
	return []mode{{"passive", through, through, true}, {"active", through, through, false}}
}

var familyNames = map[rules.Family]string{rules.FamilyIPv4: "IPv4", rules.FamilyIPv6: "IPv6"}

// verdicts simulates control and data connections in each position.
func (e *examination) verdicts() {
	served := false
	for _, p := range positions {
		for _, f := range e.ends.families() {
			if p.name == "forward" && !forwards(f) {
				e.report.add(Finding{Level: OK, Topic: topicControl, Position: p.name, Families: []string{familyNames[f]}, Text: "this host does not forward"})
				continue
			}
			served = e.position(p, f) || served
		}
	}
	if !served {
		e.report.add(Finding{
			Level: Problem, Topic: topicControl, Text: "control connections are dropped in every position: there is no FTP here at all",
			Hint: []string{"accept the control ports where FTP is to pass, as below"},
		})
	}
}

// position judges one position for a family, and reports whether control
// connections may be there.
func (e *examination) position(p position, f rules.Family) bool {
	var ports []string // whose control connections may be there
	for _, r := range e.cfg.Ports {
		walks := e.walk(p.control, rules.ControlSYN(f, r), true)
		finding := Finding{Topic: topicControl, Position: p.name, Families: []string{familyNames[f]}, Ports: []string{r.String()}}
		if rules.Verdicts(walks) == rules.Drop {
			finding.Level, finding.Text, finding.Detail = OK, "new control connections are dropped, so there is nothing to do for "+p.words, e.seen(walks)
			finding.Hint = e.acceptControl(walks, r)
			e.report.add(finding)
			continue
		}
		ports = append(ports, r.String())
		mark := e.cfg.Control()
		later := slices.Concat(e.walk(p.control, rules.ControlEstablished(f, r, mark), true), e.walk(p.back, rules.ControlReply(f, r, mark), false))
		if v := rules.Verdicts(later); v != rules.Accept {
			finding.Level, finding.Text, finding.Detail = level(v), "packets of established control connections are "+verdictWords(v), e.seen(later)
			finding.Hint = e.acceptState(later, "established")
			e.report.add(finding)
		}
	}
	if len(ports) == 0 {
		return false
	}
	for _, m := range e.modesOf(p) {
		e.data(p, m, f, ports)
	}
	return true
}

// data judges the data connections of one mode.
func (e *examination) data(p position, m mode, f rules.Family, ports []string) {
	mark, lowest := e.cfg.Control(), e.cfg.MinDataPort
	walks := e.walk(m.syn, rules.DataSYN(f, lowest, mark), m.toServer)
	v := rules.Verdicts(walks)
	what := "announced data connections"
	if m.name != "" {
		what += " of " + m.name + " mode"
	}
	finding := Finding{
		Level: level(v), Topic: topicData, Position: p.name, Families: []string{familyNames[f]}, Ports: ports,
		Text: what + " are " + verdictWords(v), Detail: e.seen(walks),
	}
	if v != rules.Accept {
		finding.Hint = e.acceptData(walks)
	}
	if v == rules.Unsure && (e.ends == Ends{}) {
		finding.Hint = append(finding.Hint, "or say more of the two ends: --client-interface, --server-interface, --client, --server")
	}
	e.report.add(finding)
	later := slices.Concat(e.walk(m.syn, rules.DataEstablished(f, lowest, mark), m.toServer),
		e.walk(m.back, rules.DataReply(f, lowest, mark), !m.toServer))
	if w := rules.Verdicts(later); w != rules.Accept && v != rules.Drop {
		finding.Level, finding.Text, finding.Detail = level(w), what+": packets after the first are "+verdictWords(w), e.seen(later)
		finding.Hint = e.acceptState(later, "established")
		e.report.add(finding)
	}
}

// walk sends a packet along a path, to the server or to the client.
func (e *examination) walk(p path, packet rules.Packet, toServer bool) []rules.ChainWalk {
	e.ends.dress(&packet, toServer)
	var walks []rules.ChainWalk
	for _, h := range p {
		walks = append(walks, e.set.Walk(h, packet, e.rules)...)
	}
	return walks
}

func level(v rules.Verdict) Level {
	return map[rules.Verdict]Level{rules.Accept: OK, rules.Drop: Problem, rules.Unsure: Warn}[v]
}

func verdictWords(v rules.Verdict) string {
	return map[rules.Verdict]string{
		rules.Accept: "accepted", rules.Drop: "dropped", rules.Unsure: "accepted or dropped: cannot tell",
	}[v]
}

// seen says which rules decide. Chains that only let pass by their policy are
// not worth a line, unless there is no other.
func (e *examination) seen(walks []rules.ChainWalk) []string {
	var lines []string
	drops := rules.Verdicts(walks) == rules.Drop
	for _, w := range walks {
		v := w.Verdict()
		if v == rules.Accept && (w.Outcomes[0].Policy && len(w.Outcomes) == 1 || drops) {
			continue
		}
		for _, o := range w.Outcomes {
			if line := e.outcome(o); !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) == 0 {
		lines = []string{"no rule is in the way"}
	}
	return lines
}

// outcome puts one possible end into words.
func (e *examination) outcome(o rules.Outcome) string {
	verb := map[rules.Verdict]string{rules.Accept: "accepted", rules.Drop: "dropped", rules.Unsure: "handed to somebody else"}[o.Verdict]
	by := "by " + e.byWhat(o)
	if len(o.Depends) > 0 {
		return fmt.Sprintf("%s %s (cannot tell whether it gets there: depends on %s)", verb, by, list(o.Depends))
	}
	return verb + " " + by
}

func (e *examination) byWhat(o rules.Outcome) string {
	switch {
	case o.Policy:
		return "the policy of " + chain(o.At.Chain)
	case o.Ours && o.At.Handle == 0:
		return "the rule that the daemon puts at the head of " + chain(o.At.Chain)
	}
	return e.rule(o.At)
}
