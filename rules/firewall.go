// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// A Firewall is a lasting connection to the nftables of one network namespace,
// and what a Config puts there. Its methods may be called by several
// goroutines. It owns its socket until Close.
type Firewall struct {
	cfg  Config
	sets []set // that hold pinholes

	mu   sync.Mutex // guards what follows, over system calls
	conn *conn
	b    batch
	key  []byte
}

// Open checks c and connects. It changes nothing in the kernel.
func Open(c Config) (*Firewall, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	conn, err := dial(c.NetNS)
	if err != nil {
		return nil, err
	}
	f := &Firewall{cfg: c, conn: conn}
	for _, s := range describe(c).sets {
		if s.ip != 0 {
			f.sets = append(f.sets, s)
		}
	}
	f.sets = append(f.sets, c.adminSets()...)
	return f, nil
}

// Close closes the connection. What Install did stays.
func (f *Firewall) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn.close()
}

// Install puts our table and the rules in the administrator's chains into the
// kernel, in place of what an earlier run left, in one transaction.
//
// An error that wraps ErrNoChain names the chain that does not exist, one that
// wraps ErrForeign the table or set that is somebody else's. unix.EPERM means
// that CAP_NET_ADMIN is missing, or that another process owns a table (flag
// "owner").
func (f *Firewall) Install() error {
	return f.replace(func(b *batch, inv inventory) error {
		if inv.foreign {
			return &OpError{Op: "replace table", Object: "inet " + f.cfg.Table, Err: ErrForeign}
		}
		for _, s := range inv.taken {
			return &OpError{Op: "add set", Object: s.words(), Err: ErrForeign}
		}
		for _, r := range f.cfg.Chains {
			if err := f.conn.checkChain(r); err != nil {
				return err
			}
		}
		inv.clear(b, f.cfg)
		if err := b.addAll(describe(f.cfg)); err != nil {
			return err
		}
		for _, s := range f.cfg.adminSets() {
			b.addSet(s)
		}
		for _, r := range f.cfg.adminRules() {
			if err := b.addRule(r.at, r.rule, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// Remove takes everything of ours out of the kernel in one transaction. What
// the administrator has flushed before is not missed.
func (f *Firewall) Remove() error {
	return f.replace(func(b *batch, inv inventory) error {
		inv.clear(b, f.cfg)
		return nil
	})
}

// maxTries bounds how often the ruleset may change under us: a neighbour that
// opens pinholes changes it too.
const maxTries = 50

// replace runs a transaction that fill makes from an inventory, and repeats
// both when the ruleset has changed in between.
func (f *Firewall) replace(fill func(*batch, inventory) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	for range maxTries {
		var inv inventory
		if inv, err = f.conn.takeInventory(f.cfg); err != nil {
			return err
		}
		f.conn.begin(&f.b, inv.generation)
		if err = fill(&f.b, inv); err != nil {
			return err
		}
		if f.b.empty() {
			return nil
		}
		if err = f.conn.commit(&f.b); !errors.Is(err, unix.ERESTART) {
			return err
		}
	}
	return err
}

// Present reports whether everything that Install did is still there. An
// administrator who reloads a ruleset usually flushes ours with it.
func (f *Firewall) Present() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ours, _, err := f.conn.findTable(f.cfg.Table)
	if err != nil || !ours {
		return false, err
	}
	n, err := f.conn.countRules(ChainRef{Family: FamilyINet, Table: f.cfg.Table}, "")
	if err != nil || n != describe(f.cfg).ruleCount() {
		return false, err
	}
	want := map[ChainRef]int{}
	for _, r := range f.cfg.adminRules() {
		want[r.at]++
	}
	for at, n := range want {
		got, err := f.conn.countRules(at, f.cfg.comment())
		if err != nil || got != n {
			return false, err
		}
	}
	return true, nil
}

// countRules counts the rules with a comment in a chain or table. A chain that
// does not exist has none.
func (c *conn) countRules(at ChainRef, comment string) (n int, err error) {
	err = c.eachRule(at, func(_ ruleHandle, have string) {
		if have == comment {
			n++
		}
	})
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	return n, err
}
