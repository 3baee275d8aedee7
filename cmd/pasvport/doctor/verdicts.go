// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"

	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// verdicts simulates control and data connections in each position.
func (e *examination) verdicts() {
	served := false
	for _, p := range positions {
		if text := e.elsewhere(p); text != "" {
			e.report.add(Finding{Level: OK, Topic: topicControl, Position: p.name, Text: "not looked at: " + text})
			continue
		}
		for _, f := range e.ends.families() {
			if p.name == "forward" && !e.forwards(f) {
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

// position judges one position for a family, and reports whether it can have
// control connections.
func (e *examination) position(p position, f rules.Family) bool {
	e.exceptions(p, f)
	var ports []string // ports that can have control connections
	for _, r := range e.cfg.Ports {
		s := e.session(p, f, r)
		walks := e.walk(p.control, s.syn, toServer)
		finding := Finding{Topic: topicControl, Position: p.name, Families: []string{familyNames[f]}, Ports: []string{r.String()}}
		if verdict(walks) == walk.Drop {
			finding.Level, finding.Text, finding.Detail = OK, "new control connections are dropped, so there is nothing to do for "+p.words, e.seen(walks)
			finding.Hint = e.acceptControl(walks, r)
			e.report.add(finding)
			continue
		}
		ports = append(ports, r.String())
		if onlyTranslated(walks) {
			finding.Level, finding.Text, finding.Detail = OK, "new control connections are accepted only if they are translated", e.seen(walks)
			e.report.add(finding)
		}
		later := slices.Concat(e.walk(p.control, s.established, toServer), e.walk(p.back, s.reply, toClient))
		if v := verdict(later); v != walk.Accept {
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

// onlyTranslated reports whether a chain accepts a packet only because it is
// translated.
func onlyTranslated(passages []passage) bool {
	return slices.ContainsFunc(passages, func(x passage) bool {
		accepts, drops := false, false
		for _, o := range x.Outcomes {
			drops = drops || o.Verdict == walk.Drop
			if o.Verdict == walk.Accept {
				if o.If != walk.OnlyTranslated {
					return false
				}
				accepts = true
			}
		}
		return accepts && drops
	})
}

// data judges the data connections of one mode.
func (e *examination) data(p position, m mode, f rules.Family, ports []string) {
	mark, lowest := e.cfg.Control(), e.cfg.MinDataPort
	walks := e.walk(m.syn, walk.DataSYN(f, lowest, mark), m.way)
	v := verdict(walks)
	what := "announced data connections"
	if m.name != "" {
		what += " of " + m.name + " mode"
	}
	finding := Finding{
		Level: level(v), Topic: topicData, Position: p.name, Families: []string{familyNames[f]}, Ports: ports,
		Text: what + " are " + verdictWords(v), Detail: e.seen(walks),
	}
	if v != walk.Accept {
		finding.Hint = e.acceptData(walks)
	}
	if v == walk.Unsure && (e.ends == Ends{}) {
		finding.Hint = append(finding.Hint, "or say more of the two ends: --client-interface, --server-interface, --client, --server")
	}
	e.report.add(finding)
	later := slices.Concat(e.walk(m.syn, walk.DataEstablished(f, lowest, mark), m.way),
		e.walk(m.back, walk.DataReply(f, lowest, mark), m.way.back()))
	if w := verdict(later); v == walk.Accept && w != walk.Accept || v == walk.Unsure && w == walk.Drop {
		finding.Level, finding.Text, finding.Detail = level(w), what+": packets after the first are "+verdictWords(w), e.seen(later)
		finding.Hint = e.acceptState(later, "established")
		e.report.add(finding)
	}
}

func level(v walk.Verdict) Level {
	return map[walk.Verdict]Level{walk.Accept: OK, walk.Drop: Problem, walk.Unsure: Warn}[v]
}

func verdictWords(v walk.Verdict) string {
	return map[walk.Verdict]string{
		walk.Accept: "accepted", walk.Drop: "dropped", walk.Unsure: "accepted or dropped: cannot tell",
	}[v]
}
