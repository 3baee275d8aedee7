// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// A Healing is what had to be put back because someone removed it.
type Healing struct {
	// Missing is what was missing, in nft syntax; "(changed)" and "(added)" mark
	// what existed but not as we left it. Empty: nothing was done.
	Missing []string

	// Pinholes is how many set elements of open pinholes were put back.
	Pinholes int

	// NoChain are the configured chains that do not exist. Nothing can be put
	// there until they come back; everything else is in place.
	NoChain []ChainRef
}

// Heal compares what the kernel holds of ours with what Install put there, and
// puts everything back in one transaction if something is missing: the table, the
// rules and sets in the administrator's chains, and the open pinholes with their
// remaining times. It does nothing before Install and after Remove.
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
		// A chain disappeared between our look and our transaction.
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, ErrNoChain) {
			return h, err
		}
	}
	return h, err
}

func (f *Firewall) healOnce() (h Healing, err error) {
	here, missing, err := f.inspect()
	if err != nil {
		return h, err
	}
	h.Missing = missing
	for _, r := range f.cfg.Chains {
		if !slices.Contains(here.Chains, r) {
			h.NoChain = append(h.NoChain, r)
		}
	}
	if len(missing) > 0 {
		h.Pinholes, err = f.put(here, true)
	}
	return h, err
}

// inspect compares what the kernel holds of ours with what it should, and names
// what it lacks or has changed. here is the configuration with those of its
// chains that exist.
func (f *Firewall) inspect() (here Config, missing []string, err error) {
	here = f.cfg
	s, err := f.conn.survey(f.cfg)
	if err != nil {
		return here, nil, err
	}
	here.Chains = s.chains
	f.sets = setsOf(here)
	if f.want == nil {
		// Another process has installed it, and only that knows the elements of
		// sets.
		return here, s.damage(f.cfg, described(f.cfg)), nil
	}
	if missing = s.damage(f.cfg, f.want); len(missing) == 0 {
		missing, err = f.memory.missing(f.conn, f.sets)
	}
	return here, missing, err
}

// put puts what c asks for and what is remembered into the kernel, replacing what
// exists of ours. again says that the table with the name is ours, whatever its
// comment. It returns how many elements of pinholes were remembered.
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

// addRemembered adds everything that is remembered for sets, and returns how many
// of these are elements of pinholes.
func (b *batch) addRemembered(m *memory, sets []set) (pinholes int) {
	for i := range sets {
		n := b.addElements(&sets[i], m.of(&sets[i]))
		if sets[i].keeps.pinholes() {
			pinholes += n
		}
	}
	return pinholes
}

// learn records how the kernel shows what was just put there. If the ruleset
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
