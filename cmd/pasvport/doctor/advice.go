// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// A block is a base chain in which a packet is, or may be, dropped.
type block struct {
	rules.ChainRef

	// before is the rule before which a rule must be inserted to accept the
	// packet; its zero value is the head of the chain.
	before walk.RuleRef

	// raw says that the chain is before conntrack, where no rule can recognise an
	// announced connection.
	raw bool
}

func blocking(walks []passage) []block {
	var list []block
	for _, w := range walks {
		if verdict([]passage{w}) != walk.Accept && !slices.ContainsFunc(list, func(b block) bool { return b.ChainRef == w.Base }) {
			list = append(list, block{w.Base, w.obstacle(), w.raw()})
		}
	}
	return list
}

// obstacle is the rule that may drop a packet which a later rule accepts anyway,
// or which does so in a chain that is no place for accepting: one at prerouting
// or postrouting, or one before the filters. Otherwise it is the zero value.
func (x passage) obstacle() walk.RuleRef {
	early := x.Priority < 0 || x.Hook == walk.HookPrerouting || x.Hook == walk.HookPostrouting
	accepted := slices.ContainsFunc(x.Outcomes, func(o walk.Outcome) bool { return o.Verdict == walk.Accept && len(o.Depends) == 0 })
	for _, o := range x.Outcomes {
		if o.Verdict == walk.Drop && !x.excepted(o) && (early || accepted) {
			return o.At // the policy has no number, and a rule before it is at the end
		}
	}
	return walk.RuleRef{}
}

// raw reports whether a chain is before conntrack.
func (x passage) raw() bool {
	return x.Hook == walk.HookIngress || (x.Hook == walk.HookPrerouting || x.Hook == walk.HookOutput) && x.Priority < walk.PriorityConntrack
}

// A line is a match to accept, in the syntax of the programs that may own the
// chain: nft and iptables.
type line struct{ nft, iptables string }

// acceptData advises how to accept data connections, by the way of --allow.
func (e *examination) acceptData(walks []passage) []string {
	l := line{"ct state established,related accept", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"}
	switch e.cfg.Allow {
	case config.AllowMark:
		bit := e.cfg.Control()
		l = line{fmt.Sprintf("ct mark & 0x%08x == 0x%08[1]x accept", bit), fmt.Sprintf("-m connmark --mark 0x%x/0x%[1]x -j ACCEPT", bit)}
	case config.AllowChain:
		return e.allowChains(walks)
	}
	return e.lines(walks, l, func(c rules.ChainRef) string {
		return "firewalld accepts related connections in its own chains: look for a rich rule, direct rule or policy that comes before (firewall-cmd --list-all-policies, --direct --get-all-rules)"
	})
}

// allowChains extends --allow to the chains that drop.
func (e *examination) allowChains(walks []passage) []string {
	refs := slices.Clone(e.cfg.Chains)
	for _, c := range blocking(walks) {
		if !slices.Contains(refs, c.ChainRef) {
			refs = append(refs, c.ChainRef)
		}
	}
	texts := make([]string, len(refs))
	for i, r := range refs {
		texts[i] = r.String()
	}
	return []string{"pasvport run --allow chain=" + strings.Join(texts, ",")}
}

// acceptState advises how to accept packets of a state.
func (e *examination) acceptState(walks []passage, state string) []string {
	l := line{"ct state " + state + " accept", "-m conntrack --ctstate " + strings.ToUpper(state) + " -j ACCEPT"}
	return e.lines(walks, l, func(rules.ChainRef) string {
		return "firewalld accepts these in its own chains: look for a direct rule or policy that comes before"
	})
}

// acceptControl advises how to accept new control connections.
func (e *examination) acceptControl(walks []passage, ports rules.PortRange) []string {
	l := line{
		fmt.Sprintf("tcp dport %s accept", ports),
		fmt.Sprintf("-p tcp --dport %s -j ACCEPT", strings.ReplaceAll(ports.String(), "-", ":")),
	}
	hints := e.lines(walks, l, func(rules.ChainRef) string {
		return fmt.Sprintf("firewall-cmd --permanent --add-port=%s/tcp (not --add-service=ftp, which brings the kernel's helper)", ports)
	})
	for i := range hints {
		hints[i] = "if FTP is wanted here: " + hints[i]
	}
	return hints
}

// lines is what to add to each chain that drops.
func (e *examination) lines(walks []passage, l line, firewalld func(rules.ChainRef) string) []string {
	var hints []string
	for _, b := range blocking(walks) {
		c, at := b.ChainRef, b.before
		hint := fmt.Sprintf("nft insert rule %s %s", words(c), l.nft)
		switch {
		case b.raw:
			hint = fmt.Sprintf("move this rule of %s behind conntrack, to a priority above %d: before it no packet has a state", chain(c), walk.PriorityConntrack)
		case c.Table == firewalldTable:
			hint = firewalld(c)
		case e.firewalls.ufw[c.Family] && xtables(c):
			hint = e.ufw(c, l, at)
		case e.firewalls.docker[c.Family] && xtables(c) && c.Chain == "FORWARD":
			hint = iptables(c.Family) + " -I DOCKER-USER " + l.iptables + " (Docker keeps this chain for you)"
		case e.set.Xtables(c):
			hint = fmt.Sprintf("%s%s -I %s %s", iptables(c.Family), inTable(c), c.Chain, l.iptables)
			if at.Handle != 0 {
				hint = fmt.Sprintf("%s%s -I %s %d %s", iptables(c.Family), inTable(c), at.Chain.Chain, e.set.Number(at), l.iptables)
			}
		case at.Handle != 0:
			hint = fmt.Sprintf("nft insert rule %s position %d %s", words(at.Chain), at.Handle, l.nft)
		}
		if !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	return hints
}

// inTable is the option of iptables for a chain's table.
func inTable(c rules.ChainRef) string {
	if c.Table == "filter" {
		return ""
	}
	return " -t " + c.Table
}

// ufw names ufw's file and chain for a built-in chain.
func (e *examination) ufw(c rules.ChainRef, l line, before walk.RuleRef) string {
	file, prefix := "/etc/ufw/before.rules", "ufw-before-"
	if c.Family == rules.FamilyIPv6 {
		file, prefix = "/etc/ufw/before6.rules", "ufw6-before-"
	}
	if before.Handle != 0 && strings.HasPrefix(before.Chain.Chain, prefix) {
		return fmt.Sprintf("in %s, above the line of rule number %d of its chain: -A %s %s; then ufw reload", file, e.set.Number(before), before.Chain.Chain, l.iptables)
	}
	return fmt.Sprintf("in %s, before COMMIT: -A %s%s %s; then ufw reload", file, prefix, strings.ToLower(c.Chain), l.iptables)
}
