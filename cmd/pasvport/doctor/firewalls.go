// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"
	"strings"

	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// firewalldTable is the table in which firewalld keeps everything.
const firewalldTable = "firewalld"

// firewalls are the programs whose chains were found.
type firewalls struct{ ufw, docker map[rules.Family]bool }

func findFirewalls(set *walk.Ruleset) firewalls {
	f := firewalls{ufw: map[rules.Family]bool{}, docker: map[rules.Family]bool{}}
	for _, c := range set.Chains() {
		if strings.HasPrefix(c.Chain, "ufw-") || strings.HasPrefix(c.Chain, "ufw6-") {
			f.ufw[c.Family] = true
		}
		if c.Chain == "DOCKER-USER" && c.Table == "filter" {
			f.docker[c.Family] = true
		}
	}
	return f
}

// xtables reports whether a chain has the name of a chain of iptables.
func xtables(c rules.ChainRef) bool {
	return c.Table == "filter" && c.Family != rules.FamilyINet && slices.Contains([]string{"INPUT", "FORWARD", "OUTPUT"}, c.Chain)
}

func iptables(f rules.Family) string {
	if f == rules.FamilyIPv6 {
		return "ip6tables"
	}
	return "iptables"
}
