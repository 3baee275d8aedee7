// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A chain is a base chain if it has a hook.
type chain struct {
	name     string
	hook     string // in nft syntax; empty for a chain that is jumped to
	hooknum  uint32
	priority int32
	prioText string
	rules    []rule
	nat      bool // of type nat, not filter
	there    bool
}

// kind is the type of a base chain.
func (c chain) kind() string {
	if c.nat {
		return "nat"
	}
	return "filter"
}

// lines are those of c within braces.
func (c chain) lines() []string {
	var l []string
	if c.hook != "" {
		l = append(l, fmt.Sprintf("type %s hook %s priority %s; policy accept;", c.kind(), c.hook, c.prioText))
	}
	for _, r := range c.rules {
		if r.note != "" {
			l = append(l, "# "+r.note)
		}
		if r.wordless() {
			l = append(l, "# "+r.String())
			continue
		}
		l = append(l, r.String())
	}
	return l
}

func preroutingHook(name string, prio int32, text string, rules ...rule) chain {
	return chain{name: name, hook: "prerouting", hooknum: unix.NF_INET_PRE_ROUTING, priority: prio, prioText: text, rules: rules}
}

func inputHook(name string, prio int32, text string, rules ...rule) chain {
	return chain{name: name, hook: "input", hooknum: unix.NF_INET_LOCAL_IN, priority: prio, prioText: text, rules: rules}
}

func forwardHook(name string, prio int32, text string, rules ...rule) chain {
	return chain{name: name, hook: "forward", hooknum: unix.NF_INET_FORWARD, priority: prio, prioText: text, rules: rules}
}

func outputHook(name string, prio int32, text string, rules ...rule) chain {
	return chain{name: name, hook: "output", hooknum: unix.NF_INET_LOCAL_OUT, priority: prio, prioText: text, rules: rules}
}

// seenBefore exempts packets that traverse prerouting a second time; in output
// nothing matches.
func seenBefore() []rule {
	return []rule{
		// meta iiftype loopback return
		newRule(iifLoopback(), leave()).explained("seen in output"),
		// meta iifkind "vrf" return
		newRule(iifVRF(), leave()).explained("seen with the interface that is in the VRF"),
	}
}
