// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// A Healing is what had to be put back because somebody took it away.
type Healing struct {
	// Missing is what was missing, in nft's words; "(changed)" and "(added)"
	// tell of what was there and not as we left it. Empty: nothing was done.
	Missing []string

	// Pinholes is how many set elements of open pinholes were put back.
	Pinholes int

	// NoChain are the configured chains that do not exist. Nothing can be
	// put there until they come back; all the rest is in place.
	NoChain []ChainRef
}

// Heal compares what the kernel holds of ours with what Install put there,
// and puts everything back in one transaction if something is missing: the
// table, the rules and sets in the administrator's chains, and the open
// pinholes with the time that is left to them. It does nothing before Install
// and after Remove.
func (f *Firewall) Heal() (Healing, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heal()
}

// heal is Heal under the lock.
func (f *Firewall) heal() (h Healing, err error) {
	if !f.installed {
		return h, nil
	}
	for range maxTries {
		h, err = f.healOnce()
		// A chain went away between our look and our transaction.
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, ErrNoChain) {
			return h, err
		}
	}
	return h, err
}

func (f *Firewall) healOnce() (h Healing, err error) {
	s, err := f.conn.survey(f.cfg)
	if err != nil {
		return h, err
	}
	for _, r := range f.cfg.Chains {
		if !slices.Contains(s.chains, r) {
			h.NoChain = append(h.NoChain, r)
		}
	}
	here := f.cfg
	here.Chains = s.chains
	f.sets = setsOf(here)
	h.Missing = s.damage(f.cfg, f.want)
	if len(h.Missing) == 0 {
		if h.Missing, err = f.missingElements(); err != nil || len(h.Missing) == 0 {
			return h, err
		}
	}
	h.Pinholes, err = f.put(here, true)
	return h, err
}

// missingElements names what somebody took out of our sets.
func (f *Firewall) missingElements() (missing []string, err error) {
	for i := range f.sets {
		s := &f.sets[i]
		if !f.memory.judged(s) {
			continue
		}
		have := map[value]element{}
		if err := f.conn.elements(s, func(e *element) { have[e.key] = *e }); err != nil {
			return nil, err
		}
		if f.memory.intact(s, have) {
			continue
		}
		name := "elements of " + s.kind() + " " + s.fullName
		if s.keeps.pinholes() {
			name = "elements of open pinholes"
		}
		if !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// put puts what c asks for and what is remembered into the kernel, in place of
// what is there of ours. again tells that the table's name is ours, whatever
// stands there now. It returns how many elements of pinholes were remembered.
func (f *Firewall) put(c Config, again bool) (pinholes int, err error) {
	err = f.replace(c, func(b *batch, inv inventory) error {
		if inv.foreign && !again {
			return &OpError{Op: "replace table", Object: "inet " + c.Table, Err: ErrForeign}
		}
		for _, s := range inv.taken {
			return &OpError{Op: "add set", Object: s.fullName, Err: ErrForeign}
		}
		for _, r := range c.Chains {
			if err := f.conn.checkChain(r); err != nil {
				return err
			}
		}
		t := describe(c)
		inv.makeWay(b, &t)
		if err := b.addEverything(c, t); err != nil {
			return err
		}
		pinholes = b.addRemembered(f.memory, setsOf(c))
		return nil
	})
	return pinholes, err
}

// addEverything adds our table t and what goes into the administrator's.
func (b *batch) addEverything(c Config, t table) error {
	if err := b.addAll(t); err != nil {
		return err
	}
	sets := adminSets(c)
	for i := range sets {
		b.addSet(&sets[i])
	}
	for _, r := range c.adminRules() {
		if err := b.addRule(r.at, r.rule, 0); err != nil {
			return err
		}
	}
	return nil
}

// addRemembered adds everything that is remembered for sets, and returns how many
// of it are elements of pinholes.
func (b *batch) addRemembered(m *memory, sets []set) (pinholes int) {
	for i := range sets {
		n := b.addElements(&sets[i], m.of(&sets[i]))
		if sets[i].keeps.pinholes() {
			pinholes += n
		}
	}
	return pinholes
}

// learn notes how the kernel shows what was just put there. If the ruleset
// changed between the transaction and the look, both are repeated.
func (f *Firewall) learn() error {
	for range maxTries {
		s, err := f.conn.survey(f.cfg)
		if err != nil {
			return err
		}
		now, err := f.conn.generation()
		if err != nil {
			return err
		}
		if now == f.generation+1 && len(s.chains) == len(f.cfg.Chains) {
			f.want = s.parts
			return nil
		}
		if _, err := f.put(f.cfg, true); err != nil {
			return err
		}
	}
	return &OpError{Op: "look at", Object: "table inet " + f.cfg.Table, Err: unix.ERESTART}
}
