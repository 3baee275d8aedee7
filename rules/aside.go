// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// setAside holds the conntrack ids of control connections that are left alone:
// their packets are not queued. Each element has a note of the reason, which
// outlives the daemon.
const setAside = "aside"

// asideTime is how long an element stays at most. LeaveAlone is called again for
// a connection that is queued after that.
const asideTime = 24 * time.Hour

// asideSet is: set aside { typeof ct id; flags dynamic,timeout; timeout 86400s; }
func asideSet(table string) set {
	s := idSet(table, setAside, asideTime)
	s.dynamic = true
	return s
}

// dynsetDelete is NFT_DYNSET_OP_DELETE of nf_tables.h, since Linux 5.4.
const dynsetDelete = 2

// dynset is, for instance: update @aside { ct id }
//
// An update renews the time of an element that is there, and leaves its note
// (nft_rhash_update in net/netfilter/nft_set_hash.c).
func dynset(word string, op uint32, set string) clause {
	return plain(word+" @"+set+" { ct id }",
		&expr.Ct{Key: unix.NFT_CT_ID, Register: reg},
		&expr.Dynset{SrcRegKey: reg, SetName: set, Operation: op})
}

// LeaveAlone has no packet of a control connection queued any more. id is that of
// its conntrack entry. The note, at most 120 bytes, says why, and is there for
// the next run.
func (f *Firewall) LeaveAlone(id uint32, note string) error {
	return f.change(func() {
		f.memory.aside[id] = note
		// An element's note cannot be changed: add, delete, add.
		f.aside(id, unix.NFT_MSG_NEWSETELEM, "")
		f.aside(id, unix.NFT_MSG_DELSETELEM, "")
		f.aside(id, unix.NFT_MSG_NEWSETELEM, note)
	})
}

// TakeUp ends what LeaveAlone began. An id that is not there is not missed.
func (f *Firewall) TakeUp(id uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Without virtual servers no rule adds an element, and a transaction that fails
	// takes the kernel milliseconds.
	if _, ours := f.memory.aside[id]; !ours && len(f.cfg.VirtualServers) == 0 {
		return nil
	}
	delete(f.memory.aside, id)
	f.conn.begin(&f.b, 0)
	f.aside(id, unix.NFT_MSG_DELSETELEM, "")
	if err := f.conn.commit(&f.b); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (f *Firewall) aside(id uint32, msg uint16, note string) {
	s := asideSet(f.cfg.Table)
	f.key = idKey(f.key[:0], id)
	f.element(msg, &s, 0, note)
}

// LeftAlone lists the connections of LeaveAlone with their notes, also those that
// an earlier run left. One without a note is a check of a server.
func (f *Firewall) LeftAlone() (map[uint32]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left, err := f.conn.ids(f.cfg.Table, setAside)
	if err != nil {
		return nil, err
	}
	checks, err := f.conn.ids(f.cfg.Table, setChecks)
	for id := range checks {
		left[id] = ""
	}
	return left, err
}
