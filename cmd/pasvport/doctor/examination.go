// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// A Question is the input of the doctor.
type Question struct {
	// Config is the configuration of the daemon in question. Unless a flag or a
	// file Asked for it, the settings of a running daemon replace it.
	Config config.Config
	Asked  bool

	Ends Ends // makes verdicts surer

	Conntrackd, Keepalived string // their configuration files, if any
}

// An examination is one run of the doctor.
type examination struct {
	report    *Report
	cfg       config.Config
	ends      Ends
	rules     rules.Config
	set       *walk.Ruleset
	nft       *lister
	firewalls firewalls
	local     []netip.Addr // of this host
	routed    []string     // policy routing rules that read our bits of the packet mark
	running   bool         // a daemon has our table
	sysfs     string       // where the kernel lists what it has loaded
	sysctl    func(name string) (int, bool)
	counted   func() (n, most int)             // expectations; most is 0 if unknown
	complete  func(rules.Config) (bool, error) // whether a table exists with everything that it should have

	// general are the rules that may drop control connections, too, in the
	// current position and family.
	general [3]map[walk.RuleRef]bool // by way
}

// found adds a finding.
func (e *examination) found(level Level, topic, text string, hints ...string) {
	e.report.add(Finding{Level: level, Topic: topic, Text: text, Hint: hints})
}

// rule names a rule with its text.
func (e *examination) rule(at walk.RuleRef) string {
	text, ok := e.nft.text(at)
	if !ok {
		text = e.set.Words(at)
	}
	if e.set.Xtables(at.Chain) {
		return fmt.Sprintf("%s, rule number %d: %s", chain(at.Chain), e.set.Number(at), text)
	}
	return fmt.Sprintf("%s, handle %d: %s", chain(at.Chain), at.Handle, text)
}
