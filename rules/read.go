// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// A ruleHandle is a rule of the kernel.
type ruleHandle struct {
	at     ChainRef
	handle uint64
}

// generation is the current generation of the ruleset.
func (c *conn) generation() (gen uint32, err error) {
	err = c.request(unix.NFT_MSG_GETGEN, 0, 0, nil, func(_ Family, body []byte) {
		for typ, v := range attrs(body) {
			if typ == unix.NFTA_GEN_ID && len(v) == 4 {
				gen = binary.BigEndian.Uint32(v)
			}
		}
	})
	if err != nil {
		return 0, &OpError{Op: "get", Object: "generation", Err: err}
	}
	return gen, nil
}

// TableWords are the name and the comment of a table that the kernel reports.
func TableWords(body []byte) (name, comment string) {
	a := collect(body)
	comment, _ = udataString(a[nftaTableUserdata], udataTableComment)
	return attrString(a[unix.NFTA_TABLE_NAME]), comment
}

// findTable looks for the inet table with a name.
func (c *conn) findTable(name string) (ours, foreign bool, err error) {
	query := appendString(nil, unix.NFTA_TABLE_NAME, name)
	err = c.request(unix.NFT_MSG_GETTABLE, 0, FamilyINet, query, func(_ Family, body []byte) {
		_, comment := TableWords(body)
		ours, foreign = comment == TableComment, comment != TableComment
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return false, false, &OpError{Op: "get table", Object: "inet " + name, Err: err}
	}
	return ours, foreign, nil
}

// checkChain returns ErrNoChain, wrapped, if r does not exist.
func (c *conn) checkChain(r ChainRef) error {
	_, err := c.idle(r)
	return err
}

// eachRule passes every rule in a chain to f; a zero ChainRef means the whole
// ruleset, one without a Chain a table.
func (c *conn) eachRule(at ChainRef, f func(r ruleHandle, comment string)) error {
	err := c.dumpRules(at, func(fam Family, body []byte) { f(parseRule(fam, body)) })
	if err != nil {
		return &OpError{Op: "list rules", Object: at.Table, Err: err}
	}
	return nil
}

// dumpRules passes every rule to f as the kernel shows it.
func (c *conn) dumpRules(at ChainRef, f func(Family, []byte)) error {
	var query []byte
	if at.Table != "" {
		query = appendString(query, unix.NFTA_RULE_TABLE, at.Table)
	}
	if at.Chain != "" {
		query = appendString(query, unix.NFTA_RULE_CHAIN, at.Chain)
	}
	return c.request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, at.Family, query, f)
}

// parseRule parses a rule's place and comment.
func parseRule(fam Family, body []byte) (r ruleHandle, comment string) {
	r.at.Family = fam
	for typ, v := range attrs(body) {
		switch {
		case typ == unix.NFTA_RULE_TABLE:
			r.at.Table = attrString(v)
		case typ == unix.NFTA_RULE_CHAIN:
			r.at.Chain = attrString(v)
		case typ == unix.NFTA_RULE_HANDLE && len(v) == 8:
			r.handle = binary.BigEndian.Uint64(v)
		case typ == unix.NFTA_RULE_USERDATA:
			comment, _ = udataString(v, udataRuleComment)
		}
	}
	return r, comment
}

// elements passes the elements of a set to f. A set that does not exist has none.
func (c *conn) elements(s *set, f func(*element)) error {
	err := c.dumpElements(s, func(_ Family, body []byte) { eachElement(body, f) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &OpError{Op: "list " + s.kind(), Object: s.fullName, Err: err}
	}
	return nil
}

// dumpElements passes the messages with a set's elements to f.
func (c *conn) dumpElements(s *set, f func(Family, []byte)) error {
	return c.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, s.family, appendListName(nil, s), f)
}

// eachSet passes every set of the ruleset to f.
func (c *conn) eachSet(f func(set)) error {
	err := c.request(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, 0, nil, func(fam Family, body []byte) {
		a := collect(body)
		s := newSet(fam, attrString(a[unix.NFTA_SET_TABLE]), attrString(a[unix.NFTA_SET_NAME]), dataType{})
		s.comment, _ = udataString(a[unix.NFTA_SET_USERDATA], udataSetComment)
		f(s)
	})
	if err != nil {
		return &OpError{Op: "list sets", Err: err}
	}
	return nil
}
