// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Firewall is a lasting connection to the nftables of one network namespace,
// and what a Config puts there. Its methods are safe for concurrent use. It owns
// its socket until Close.
type Firewall struct {
	mu   sync.Mutex // guards the rest, across system calls
	cfg  Config
	sets []set // sets that the configuration has
	conn *conn
	b    batch

	installed  bool
	removed    bool
	want       parts // what the kernel shows of an intact installation
	memory     *memory
	generation uint32 // before the last transaction of replace
	report     func(Healing, error)
}

// Open checks c and connects. It changes nothing in the kernel.
func Open(c Config) (*Firewall, error) {
	c = c.WithDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	conn, err := dial(c.NetNS)
	if err != nil {
		return nil, err
	}
	return &Firewall{cfg: c, conn: conn, sets: setsOf(c), memory: newMemory()}, nil
}

// setsOf are all sets of the configuration c.
func setsOf(c Config) []set { return append(ownSets(c), adminSets(c)...) }

// Close closes the connection. What Install did stays.
func (f *Firewall) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn.close()
}

// Install puts our table and the rules in the administrator's chains into the
// kernel, replacing what an earlier run left, in one transaction. Pinholes that
// the earlier run left open stay open for their remaining time.
//
// An error that wraps ErrNoChain names the chain that does not exist, one that
// wraps ErrForeign the table or set that is not ours. unix.EPERM means that
// CAP_NET_ADMIN is missing, or that another process owns a table (flag "owner").
func (f *Firewall) Install() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.memory.recall(f.conn, f.sets); err != nil {
		return err
	}
	if _, err := f.put(f.cfg, false); err != nil {
		return err
	}
	f.installed, f.removed = true, false
	return f.learn()
}

// Reconfigure changes ports, chains, the mark, pinhole timeout, the range of
// peers, whether clients are blocked, OneWay, virtual servers and Watch to those
// of c, in one transaction; all else in c must be as it was. If it fails, as with
// ErrNoChain, nothing has changed.
func (f *Firewall) Reconfigure(c Config) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := c.WithDefaults()
	if err := next.validate(); err != nil {
		return err
	}
	if !f.installed {
		f.cfg, f.sets = next, setsOf(next)
		return nil
	}
	if _, err := f.put(next, true); err != nil {
		return err
	}
	f.cfg, f.sets = next, setsOf(next)
	return f.learn()
}

// Remove removes everything of ours from the kernel in one transaction, except
// what the administrator has flushed before.
func (f *Firewall) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.installed, f.removed, f.memory = false, true, newMemory()
	return f.replace(f.cfg, func(b *batch, inv inventory) error {
		inv.clear(b, f.cfg)
		return nil
	})
}

// Leave is Remove, except that it leaves a table with a nat chain without rules,
// so that the connections that virtual servers have translated continue. The next
// Install replaces it.
func (f *Firewall) Leave() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.installed, f.memory = false, newMemory()
	return f.replace(f.cfg, func(b *batch, inv inventory) error {
		t := table{name: f.cfg.Table, chains: []chain{translateChain()}}
		inv.makeWay(b, &t)
		return b.addAll(t)
	})
}

// maxTries limits the retries when the ruleset changes under us: a neighbour that
// opens pinholes changes it, too.
const maxTries = 50

// replace runs a transaction that fill makes from an inventory, and repeats both
// if the ruleset has changed in between.
func (f *Firewall) replace(c Config, fill func(*batch, inventory) error) error {
	var err error
	for range maxTries {
		var inv inventory
		if inv, err = f.conn.takeInventory(c); err != nil {
			return err
		}
		f.generation = inv.generation
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

// change runs a small transaction that fill makes. If a part of ours is missing,
// everything is put back first; what fill adds must be remembered by then, as it
// is put back, too. Before Install nothing exists, and Install installs what is
// remembered.
func (f *Firewall) change(fill func()) error {
	f.mu.Lock()
	f.conn.begin(&f.b, 0)
	fill()
	var err error
	if !f.b.empty() && (f.installed || f.removed) {
		err = f.conn.commit(&f.b)
	}
	if !f.installed || !errors.Is(err, unix.ENOENT) {
		f.mu.Unlock()
		return err
	}
	h, err := f.heal()
	report := f.report
	f.mu.Unlock()
	if report != nil && (err != nil || len(h.Missing) > 0) {
		report(h, err)
	}
	return err
}

// add remembers an element for a time (see memory.keep), and adds it to the
// transaction of change, renewed in each set that takes it.
func (f *Firewall) add(c content, e *element, remember time.Duration) {
	f.memory.keep(c, e, remember)
	for i := range f.sets {
		if f.sets[i].takes(c, &e.key) {
			f.b.renewElement(&f.sets[i], e)
		}
	}
}

// take forgets an element, deletes it from its set, and reports whether it was
// there.
func (f *Firewall) take(c content, key value) (was bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.memory.drop(c, key)
	f.conn.begin(&f.b, 0)
	for i := range f.sets {
		if f.sets[i].takes(c, &key) {
			f.b.deleteElement(&f.sets[i], key)
		}
	}
	if f.b.empty() {
		return false, nil
	}
	err = f.conn.commit(&f.b)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// Exists reports whether a table of ours with the name exists, as left by a
// crashed daemon.
func (f *Firewall) Exists() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ours, _, err := f.conn.findTable(f.cfg.Table)
	return ours, err
}

// Present reports whether everything that Install did is still there. An
// administrator who reloads a ruleset usually flushes ours with it. If another
// process did the Install, a change that leaves the number of rules in each chain
// is not noticed.
func (f *Firewall) Present() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ours, _, err := f.conn.findTable(f.cfg.Table)
	if err != nil || !ours {
		return false, err
	}
	here, missing, err := f.inspect()
	return err == nil && len(missing) == 0 && len(here.Chains) == len(f.cfg.Chains), err
}
