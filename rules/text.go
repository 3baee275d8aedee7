// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"
)

// Text is what Install puts into the kernel, for "nft -f". Loading it replaces
// our table and can be repeated; the commands for the administrator's chains, if
// any, add to what exists.
//
// The queue statements are nft's own, even where Install has to use the xtables
// target. nft up to at least 1.0.6 does not parse an expectation of size 0
// (CarrierBare).
func Text(c Config) string {
	c = c.WithDefaults()
	t := describe(c)
	var w strings.Builder
	fmt.Fprintf(&w, "# The table of pasvport, as the daemon installs it when it starts and removes it\n"+
		"# when it stops. Not to be saved with the ruleset.\n"+
		"table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n\tcomment %[2]q\n", t.name, TableComment)
	for _, s := range t.sets {
		block(&w, s.kind()+" "+s.name, s.properties())
	}
	for _, o := range t.objects {
		block(&w, fmt.Sprintf("ct %s %s", o.kind(), o.name), o.properties())
	}
	for _, ch := range t.chains {
		block(&w, "chain "+ch.name, ch.lines())
	}
	w.WriteString("}\n")
	c.adminText(&w)
	return w.String()
}

// block writes one part of the table.
func block(w *strings.Builder, head string, lines []string) {
	fmt.Fprintf(w, "\n\t%s {\n", head)
	for _, l := range lines {
		fmt.Fprintf(w, "\t\t%s\n", l)
	}
	w.WriteString("\t}\n")
}

// adminText writes the commands for the administrator's chains.
func (c Config) adminText(w *strings.Builder) {
	if len(c.Chains) == 0 {
		return
	}
	fmt.Fprintf(w, "\n# In the chains named by --allow, known by the comment %q.\n", c.Comment())
	for _, s := range adminSets(c) {
		fmt.Fprintf(w, "add set %s { %s; }\n", s.fullName, strings.Join(s.properties(), "; "))
	}
	for _, r := range adminRules(c) {
		fmt.Fprintf(w, "insert rule %s %s\n", r.at.words(), r.String())
	}
}
