// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"

	"github.com/pasvport/pasvport/rules"
)

// TestHealer: a lasting state of our rules is reported once, and sessions that
// passed unread meanwhile know it.
func TestHealer(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	h := &healer{services: b.services, registry: b.registry, older: b.w.older}
	once := func(what string, f func(), words ...string) {
		t.Helper()
		f()
		b.logs(words...)
		n := b.log.b.Len()
		if f(); b.log.b.Len() != n {
			t.Errorf("%s: it is reported twice", what)
		}
	}
	once("an error", func() { h.healed(rules.Healing{}, errors.New("busy")) }, `msg="cannot put our rules back"`, "it is tried again")
	chain := rules.ChainRef{Family: rules.FamilyINet, Table: "filter", Chain: "forward"}
	once("a chain that is gone", func() { h.healed(rules.Healing{NoChain: []rules.ChainRef{chain}}, nil) }, `msg="chains of --allow are gone"`)
	once("it is back", func() { h.healed(rules.Healing{}, nil) }, `msg="all chains of --allow are there again"`)
	if l.session().HasMissed() || b.metrics.Heals.Load() != 0 {
		t.Error("something is healed although nothing was missing")
	}
	h.healed(rules.Healing{Missing: []string{"table inet pasvport"}, Pinholes: 2}, nil)
	b.logs(`msg="rules put back"`, "pinholes=2")
	if !l.session().HasMissed() || b.metrics.Heals.Load() != 1 || b.w.older.due == nil {
		t.Error("no one learns that packets may have passed unread")
	}
	if healHint(rules.ErrForeign) == healHint(errors.New("x")) {
		t.Error("a set that is somebody else's has no hint of its own")
	}
}
