// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"

	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// conflicts reports which rules of others interfere with ours.
func (e *examination) conflicts() {
	disturbing := map[rules.ChainRef]bool{}
	for _, c := range e.set.Conflicts(e.rules) {
		if c.Kind == walk.ConflictCopy && len(e.routed) == 0 {
			continue // nothing reads the packet mark except rules that were walked
		}
		if c.Kind == walk.ConflictHook {
			disturbing[c.At.Chain] = true
		}
		f := Finding{Level: Problem, Topic: topicConflict, Detail: []string{e.rule(c.At)}}
		if !c.Sure {
			f.Level = Warn
			if len(c.Depends) > 0 {
				f.Detail = append(f.Detail, "cannot tell whether it matters: it depends on "+strings.Join(c.Depends, ", "))
			}
		}
		f.Text, f.Hint = e.conflict(c)
		switch c.Kind {
		case walk.ConflictHook:
			f.Level = Warn
		case walk.ConflictLate:
			f.Level = OK
		}
		e.report.add(f)
	}
	for _, n := range e.set.Neighbours() {
		if !disturbing[n.Chain] {
			e.found(OK, topicConflict, fmt.Sprintf("%s is beside ours (%s, priority %d) and drops nothing", chain(n.Chain), n.Hook, n.Priority))
		}
	}
	for _, r := range e.rules.Chains {
		if !e.hasChain(r) {
			e.found(Problem, topicConflict, fmt.Sprintf("--allow names %s, which does not exist: the daemon could not start", chain(r)), "nft list chains shows those that do")
		}
	}
}

func (e *examination) hasChain(want rules.ChainRef) bool {
	for _, have := range e.set.Chains() {
		if have == want {
			return true
		}
	}
	return false
}

// conflict describes a conflict, and what to do about it.
func (e *examination) conflict(c walk.Conflict) (text string, hints []string) {
	remove := fmt.Sprintf("nft delete rule %s handle %d, and the same in your file", words(c.At.Chain), c.At.Handle)
	except := fmt.Sprintf("except the control ports in this rule: tcp dport != %s tcp sport != %[1]s", otherThan(e.cfg.PortList()))
	switch c.Kind {
	case walk.ConflictHelper:
		hints = []string{remove}
		if c.At.Chain.Table == firewalldTable {
			hints = []string{"firewall-cmd --permanent --remove-service=ftp --add-port=21/tcp, then --reload: the service brings the helper with it"}
		}
		return fmt.Sprintf("the helper %q of the kernel is given to control connections, which pasvport then leaves alone", c.Name), hints
	case walk.ConflictLate:
		return fmt.Sprintf("the helper %q of the kernel is given to control connections after pasvport has them, which the kernel ignores: they stay with pasvport", c.Name), nil
	case walk.ConflictNotrack:
		return "packets of FTP are not tracked: such connections have no state, and pasvport does not see them", []string{except}
	case walk.ConflictZone:
		return "packets of FTP are put into a conntrack zone, and this kernel cannot say which one a queued packet is in: pasvport leaves such connections alone",
			[]string{except, "a kernel with CONFIG_NETFILTER_NETLINK_GLUE_CT can"}
	case walk.ConflictFlow:
		return fmt.Sprintf("the flowtable %q takes control connections, which get no carrier, past every hook: pasvport does not see them", c.Name),
			[]string{except, "with a carrier (--carrier auto) they stay: the kernel offloads no connection that has one"}
	case walk.ConflictMark:
		return fmt.Sprintf("pasvport's bit of the ct mark (0x%08x) is overwritten", e.cfg.Control()),
			[]string{fmt.Sprintf("keep it: ct mark set ct mark & 0x%08x | ..., or give the daemon other bits with --ct-mark, or accept by state instead (--allow related)", e.cfg.Control())}
	case walk.ConflictRead:
		return fmt.Sprintf("the ct mark is compared as a whole, and pasvport's bit (0x%08x) is part of it", e.cfg.Control()),
			[]string{fmt.Sprintf("compare the bits that are meant: ct mark & 0x%08x == ..., or accept by state instead (--allow related)", ^e.cfg.Control())}
	case walk.ConflictCopy:
		return fmt.Sprintf("pasvport's bit of the ct mark (0x%08x) is copied into the packet mark, and routes are chosen by it: %s", e.cfg.Control(), strings.Join(e.routed, "; ")),
			[]string{fmt.Sprintf("copy the bits that are meant: meta mark set ct mark & 0x%08x, or compare them with ip rule ... fwmark VALUE/MASK, or accept by state instead (--allow related)", ^e.cfg.Control())}
	case walk.ConflictQueue:
		return fmt.Sprintf("packets are sent to queue %d, which is to be pasvport's", c.Queue), []string{"give the daemon another --queue-num, or change this rule"}
	default:
		return "a rule drops, queues or changes packets just where pasvport reads them", []string{"move its chain to a priority above -100, such as filter (0)"}
	}
}

// otherThan formats ports as after != in a rule. A single one is written as a
// range: nft up to at least 1.0.6 merges two != of neighbouring fields into one
// comparison, which is true if either differs.
func otherThan(ports []string) string {
	if len(ports) > 1 {
		return "{ " + strings.Join(ports, ", ") + " }"
	}
	if !strings.Contains(ports[0], "-") {
		return ports[0] + "-" + ports[0]
	}
	return ports[0]
}
