// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// setRenumbered holds the conntrack ids of control connections whose sequence
// numbers are adjusted in userspace: all of their packets are queued.
const setRenumbered = "renumbered"

// renumberedSet is: set renumbered { typeof ct id; }
func renumberedSet(table string) set { return idSet(table, setRenumbered, 0) }

// idSet is a set of conntrack ids. If there is a timeout, its elements go after
// that time.
func idSet(table, name string, timeout time.Duration) set {
	s := set{family: FamilyINet, table: table, name: name, ids: true, timeout: timeout}
	s.fullName = s.words()
	return s
}

// ctIn is: ct id @name
func ctIn(name string) clause {
	return plain("ct id @"+name,
		&expr.Ct{Key: unix.NFT_CT_ID, Register: reg},
		&expr.Lookup{SourceRegister: reg, SetName: name})
}

// typeofCtID is the user data by which nft knows "typeof ct id": the key's
// byte order, and the expression with its key and direction.
var typeofCtID = []byte{
	udataSetKeyOrder, 4, 2, 0, 0, 0,
	3, 20, 0, 4, 12, 0, 0, 0, 1, 12, 0, 4, unix.NFT_CT_ID, 0, 0, 0, 1, 4, 0xff, 0xff, 0xff, 0xff,
}

// typeInteger is nft's number for the type of a conntrack id (datatype.h).
const typeInteger = 4

// appendIDSet appends the attributes of NFT_MSG_NEWSET for a set of conntrack
// ids.
func appendIDSet(b []byte, s set, id uint32) []byte {
	b = appendString(b, unix.NFTA_SET_TABLE, s.table)
	b = appendString(b, unix.NFTA_SET_NAME, s.name)
	flags := uint32(0)
	if s.timeout != 0 {
		flags = unix.NFT_SET_TIMEOUT
	}
	if s.dynamic {
		flags |= unix.NFT_SET_EVAL
	}
	b = appendUint32(b, unix.NFTA_SET_FLAGS, flags)
	b = appendUint32(b, unix.NFTA_SET_KEY_TYPE, typeInteger)
	b = appendUint32(b, unix.NFTA_SET_KEY_LEN, 4)
	b = appendUint32(b, unix.NFTA_SET_ID, id)
	if s.timeout != 0 {
		b = appendUint64(b, unix.NFTA_SET_TIMEOUT, uint64(s.timeout.Milliseconds()))
	}
	return appendAttr(b, unix.NFTA_SET_USERDATA, typeofCtID)
}

// Renumber has all packets of an established control connection queued, also
// those without payload, and dropped while nobody takes them: unadjusted they
// would put their bytes in the wrong place. id is that of its conntrack entry.
// The note, at most 120 bytes, is kept for the next run; it can be changed.
func (f *Firewall) Renumber(id uint32, note string) error {
	return f.change(func() {
		if _, again := f.memory.renumbered[id]; again {
			f.renumber(id, unix.NFT_MSG_DELSETELEM, "")
		}
		f.memory.renumbered[id] = note
		f.renumber(id, unix.NFT_MSG_NEWSETELEM, note)
	})
}

// Forget ends what Renumber began. An id that is not there is not missed.
func (f *Firewall) Forget(id uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.memory.renumbered, id)
	f.conn.begin(&f.b, 0)
	f.renumber(id, unix.NFT_MSG_DELSETELEM, "")
	if err := f.conn.commit(&f.b); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (f *Firewall) renumber(id uint32, msg uint16, note string) {
	s := renumberedSet(f.cfg.Table)
	f.key = idKey(f.key[:0], id)
	f.element(msg, &s, 0, note)
}

// idKey appends the key of an element.
func idKey(b []byte, id uint32) []byte { return binary.BigEndian.AppendUint32(b, id) }

// Renumbered lists the connections of Renumber with their notes, also those
// that an earlier run left.
func (f *Firewall) Renumbered() (map[uint32]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn.ids(f.cfg.Table, setRenumbered)
}

// ids reads a set of conntrack ids. One that does not exist is empty.
func (c *conn) ids(table, name string) (map[uint32]string, error) {
	query := appendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table)
	query = appendString(query, unix.NFTA_SET_ELEM_LIST_SET, name)
	ids := map[uint32]string{}
	err := c.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, FamilyINet, query, func(_ Family, body []byte) {
		readIDs(ids, body)
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return ids, err
}

// readIDs reads the elements of one message of a dump.
func readIDs(ids map[uint32]string, body []byte) {
	for typ, list := range attrs(body) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, elem := range attrs(list) {
			if id, note, ok := parseID(elem); ok {
				ids[id] = note
			}
		}
	}
}

func parseID(elem []byte) (id uint32, note string, ok bool) {
	for typ, v := range attrs(elem) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			for _, key := range attrs(v) {
				if ok = len(key) == 4; ok {
					id = binary.BigEndian.Uint32(key)
				}
			}
		case unix.NFTA_SET_ELEM_USERDATA:
			note, _ = udataString(v, udataElemComment)
		}
	}
	return id, note, ok
}
