// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// RemoveLeftovers removes tables of ours with another name that send packets to a
// queue of this configuration, with their rules and sets in the administrator's
// tables, and returns their names. If the caller has bound its queues no one else
// can have them: these are the tables of a dead daemon that had another name for
// its table.
func (f *Firewall) RemoveLeftovers() (names []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	others, err := f.conn.otherTables(f.cfg.Table)
	if err != nil {
		return nil, err
	}
	for _, name := range others {
		queues, err := f.conn.queuesTo(name, f.cfg)
		if err != nil {
			return names, err
		}
		if !queues {
			continue
		}
		old := Config{Table: name}
		err = f.replace(old, func(b *batch, inv inventory) error {
			inv.clear(b, old)
			return nil
		})
		if err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}

// otherTables are the tables of ours with another name.
func (c *conn) otherTables(name string) (names []string, err error) {
	err = c.request(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, FamilyINet, nil, func(_ Family, body []byte) {
		have, comment := TableWords(body)
		if comment == TableComment && have != name {
			names = append(names, have)
		}
	})
	if err != nil {
		return nil, &OpError{Op: "list tables", Err: err}
	}
	return names, nil
}

// queuesTo reports whether a rule in an inet table sends packets to a queue of
// cfg.
func (c *conn) queuesTo(table string, cfg Config) (yes bool, err error) {
	query := appendString(nil, unix.NFTA_RULE_TABLE, table)
	err = c.request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, FamilyINet, query, func(_ Family, body []byte) {
		for typ, list := range attrs(body) {
			if typ != unix.NFTA_RULE_EXPRESSIONS {
				continue
			}
			for _, elem := range attrs(list) {
				num, ok := queueNumber(elem)
				yes = yes || ok && num-cfg.QueueNum < uint16(cfg.Queues)
			}
		}
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return false, &OpError{Op: "list rules", Object: "inet " + table, Err: err}
	}
	return yes, nil
}

// queueNumber is the queue of an expression of either QueueKind.
func queueNumber(elem []byte) (num uint16, ok bool) {
	e := collect(elem)
	data := collect(e[unix.NFTA_EXPR_DATA])
	switch name := attrString(e[unix.NFTA_EXPR_NAME]); {
	case name == "queue":
		if v := data[unix.NFTA_QUEUE_NUM]; len(v) >= 2 {
			return binary.BigEndian.Uint16(v), true
		}
	case name == "target" && attrString(data[unix.NFTA_TARGET_NAME]) == "NFQUEUE":
		if v := data[unix.NFTA_TARGET_INFO]; len(v) >= 2 {
			return binary.NativeEndian.Uint16(v), true
		}
	}
	return 0, false
}
