// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// A judgement is the policy's verdict on a client's line, or on the part of it
// that has arrived.
type judgement struct {
	why  Reason // why it is made to fail; ReasonPlain if it is not
	rule string // the part of the policy that decides
	open bool   // what is still to come may change that to a denial
	at   span   // the letters of its verb
}

// judgeLine judges a client's line, without its line end. whole says that it ends
// there; otherwise only its start is known.
func (c *terms) judgeLine(line []byte, whole bool) judgement {
	front := skipFront(line)
	text := plain(line[front:])
	if whole {
		text = bytes.TrimRight(text, "\r\x00")
	}
	cmd, v, n := parseVerb(text)
	j := judgement{at: span{front, front + textLen(line[front:], n)}}
	switch {
	case n == len(text) && !whole:
		j.open = c.mayBecomeDenied(text)
	case len(text) > 0:
		j.why, j.rule = c.deniedVerb(cmd, &v)
		if j.why == ReasonPlain {
			c.judgeArgument(&j, &v, text[n:], whole)
		}
	}
	switch limit := c.policy.MaxLine; {
	case j.why != ReasonPlain || limit == 0:
	case len(bytes.TrimRight(line, "\r\x00")) > limit: // they may be its end
		j.why, j.rule = ReasonLength, "max-line"
	case !whole:
		j.open = true
	}
	return j
}

// deniedVerb returns why a command is made to fail whatever follows it.
func (c *terms) deniedVerb(cmd command, v *verb) (Reason, string) {
	p := c.policy
	opens := cmd.active() || isPassive(cmd)
	switch {
	case cmd == cmdAUTH && p.DenyTLS && string(v[:]) == "AUTH":
		return ReasonTLSDenied, ""
	case p.deniesCommand(v):
		return ReasonCommandDenied, string(v.bytes())
	case cmd.active() && p.NoActive, isPassive(cmd) && p.NoPassive:
		return ReasonMode, string(v.bytes())
	case opens && c.familyDenied():
		return ReasonFamilyDenied, string(v.bytes())
	case p.RequireTLS && (cmd == cmdUSER || cmd == cmdPASS || string(v[:]) == "XAUT"):
		return ReasonTLSRequired, ""
	}
	return ReasonPlain, ""
}

// deniesCommand reports whether a command is made to fail because of its name.
func (p *Policy) deniesCommand(v *verb) bool {
	return p.Deny[string(v.bytes())] || p.Deny["PASV"] && string(v[:]) == disguisedPASV || len(p.Allow) > 0 && !p.allowed(v)
}

// opening are the commands that ask for a data connection in each mode. Who denies them
// may have forgotten the old and the undocumented ones.
var opening = [...][2]verb{Active: {{'P', 'O', 'R', 'T'}, {'E', 'P', 'R', 'T'}}, Passive: {{'P', 'A', 'S', 'V'}, {'E', 'P', 'S', 'V'}}}

// deniesAll reports whether the commands of a mode are denied by name: one that asked
// passed before this policy, or at another firewall.
func (p *Policy) deniesAll(m Mode) bool {
	return p.deniesCommand(&opening[m][0]) && p.deniesCommand(&opening[m][1])
}

// allowed reports whether the list of allowed commands has a verb, or one of its
// subcommands.
func (p *Policy) allowed(v *verb) bool {
	return p.Allow[string(v.bytes())] || string(v[:]) == disguisedPASV && p.Allow["PASV"] ||
		string(v[:]) == "SITE" && p.hasSub(p.Allow)
}

const sitePrefix = "SITE "

// judgeArgument judges what follows a verb.
func (c *terms) judgeArgument(j *judgement, v *verb, rest []byte, whole bool) {
	p := c.policy
	arg := rest[skipBlanks(rest):]
	if string(v[:]) == "SITE" {
		c.judgeSub(j, arg, whole)
	}
	has := pathCommands[*v]
	length := func(limit int, rule string) {
		switch {
		case j.why != ReasonPlain || limit == 0:
		case len(bytes.TrimRight(arg, "\r\x00")) > limit:
			j.why, j.rule = ReasonLength, rule
		case !whole:
			j.open = true
		}
	}
	length(p.MaxArgument, "max-argument")
	if has {
		length(p.MaxPath, "max-path")
	}
	if j.why != ReasonPlain {
		return
	}
	action := fileActions[*v]
	name := p.Anonymous != AnonymousAny && string(v[:]) == "USER"
	file := action&p.fileActions() != 0
	switch {
	case !name && !file:
	case !whole:
		j.open = true
	case name && p.Anonymous.denies(arg):
		j.why, j.rule = ReasonAnonymous, p.Anonymous.String()
	case file:
		if rule, ok := p.deniedFile(action, arg); ok {
			j.why, j.rule = ReasonFileDenied, rule
		}
	}
}

// judgeSub judges the subcommand of SITE.
func (c *terms) judgeSub(j *judgement, arg []byte, whole bool) {
	p := c.policy
	deny, allow := p.hasSub(p.Deny), len(p.Allow) > 0 && !p.Allow["SITE"]
	if !deny && !allow {
		return
	}
	end := bytes.IndexAny(arg, " \t\x00")
	if end < 0 && !whole {
		j.open = true
		return
	}
	if end >= 0 {
		arg = arg[:end]
	}
	var room [32]byte
	name := append(room[:0], sitePrefix...)
	for _, b := range arg[:min(len(arg), len(room)-len(name))] {
		if isLetter(b) {
			b &^= 0x20
		}
		name = append(name, b)
	}
	if deny && p.Deny[string(name)] || allow && !p.Allow[string(name)] {
		j.why, j.rule = ReasonCommandDenied, string(name)
	}
}

// mayBecomeDenied reports whether a verb that starts with b may turn out to be
// one whose line the policy checks.
func (c *terms) mayBecomeDenied(b []byte) bool {
	p := c.policy
	if len(b) == 0 {
		return false
	}
	if len(p.Allow) > 0 || p.MaxLine > 0 || p.MaxArgument > 0 {
		return true
	}
	for v := range p.Deny {
		if mayBe(v[:min(len(v), len(verb{}))], b) || v == "PASV" && mayBe(disguisedPASV, b) {
			return true
		}
	}
	if p.DenyTLS && mayBe("AUTH", b) ||
		p.RequireTLS && (mayBe("USER", b) || mayBe("PASS", b) || mayBe("ACCT", b) || mayBe("XAUT", b)) ||
		p.Anonymous != AnonymousAny && mayBe("USER", b) {
		return true
	}
	opens := c.familyDenied()
	if opens || p.NoActive || p.NoPassive {
		for name, cmd := range commands {
			if (cmd.active() && (opens || p.NoActive) || isPassive(cmd) && (opens || p.NoPassive)) && mayBe(name, b) {
				return true
			}
		}
	}
	return c.mayHavePath(b)
}

// mayHavePath reports whether a verb that starts with b may turn out to be one
// whose path the policy checks.
func (c *terms) mayHavePath(b []byte) bool {
	actions := c.policy.fileActions()
	if c.policy.MaxPath == 0 && actions == 0 {
		return false
	}
	for v := range pathCommands {
		if (c.policy.MaxPath > 0 || fileActions[v]&actions != 0) && mayBe(string(v.bytes()), b) {
			return true
		}
	}
	return false
}

// skipFront returns the length of what servers skip before a command.
func skipFront(line []byte) int {
	i := skipTelnet(line)
	for i < len(line) && line[i] != '\n' && !isLetter(line[i]) {
		i += max(1, skipTelnet(line[i:]))
	}
	return min(i, len(line))
}

// mayBeDenied reports whether a client's line, or one that starts like this, is
// denied or may turn out to be.
func (c *terms) mayBeDenied(line []byte, whole bool) bool {
	if !c.judges {
		return false
	}
	j := c.judgeLine(line, whole)
	return j.open || j.why != ReasonPlain
}
