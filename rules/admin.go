// SPDX-License-Identifier: Apache-2.0

package rules

// What goes into the administrator's tables: for each table with a configured
// chain a set of pinholes for each address family, and in each chain a rule for
// each of them.

// An adminRule is a rule at the head of an administrator's chain.
type adminRule struct {
	at ChainRef
	rule
}

// adminRules are the rules for the chains of c. The set alone would accept any
// connection to an announced port; a data connection is also expected.
func adminRules(c Config) []adminRule {
	var rules []adminRule
	for _, r := range c.Chains {
		for _, ip := range ipFamilies {
			if !r.Family.Has(ip) {
				continue
			}
			// ct status expected ip saddr . ip daddr . tcp dport @pasvport4 counter accept comment "pasvport pasvport"
			rule := newRule(ctExpected(), pinhole(ip, setName(c.Table, ip)), counter(), accept())
			rule.comment = c.Comment()
			rules = append(rules, adminRule{r, rule})
		}
	}
	return rules
}
