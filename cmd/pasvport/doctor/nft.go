// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// A lister prints rules as the program nft does.
type lister struct {
	ctx    context.Context
	path   string // empty: nft is not installed
	chains map[rules.ChainRef]map[string]string
}

func newLister(ctx context.Context) *lister {
	path, err := exec.LookPath("nft")
	if err != nil {
		path = ""
	}
	return &lister{ctx: ctx, path: path, chains: map[rules.ChainRef]map[string]string{}}
}

// listTimeout limits one run of nft.
const listTimeout = 10 * time.Second

// counters are the changing part of a rule.
var counters = regexp.MustCompile(` packets \d+ bytes \d+`)

// text is a rule as nft prints it; ok is false if it does not.
func (l *lister) text(at walk.RuleRef) (string, bool) {
	if l.path == "" {
		return "", false
	}
	lines, ok := l.chains[at.Chain]
	if !ok {
		lines = l.list(at.Chain)
		l.chains[at.Chain] = lines
	}
	text, ok := lines[fmt.Sprint(at.Handle)]
	return text, ok
}

// list prints a chain and keeps its rules by their handles.
func (l *lister) list(c rules.ChainRef) map[string]string {
	ctx, cancel := context.WithTimeout(l.ctx, listTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, l.path, "-a", "list", "chain", c.Family.String(), c.Table, c.Chain).Output()
	if err != nil {
		return nil
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(out)) {
		text, handle, ok := strings.Cut(strings.TrimSpace(line), " # handle ")
		if ok && !strings.HasSuffix(text, "{") {
			lines[handle] = counters.ReplaceAllString(text, "")
		}
	}
	return lines
}

// chain names a chain as nft does.
func chain(c rules.ChainRef) string {
	return fmt.Sprintf("chain %s %s %s", c.Family, c.Table, c.Chain)
}

// words is a chain as in nft's commands.
func words(c rules.ChainRef) string { return fmt.Sprintf("%s %s %s", c.Family, c.Table, c.Chain) }
