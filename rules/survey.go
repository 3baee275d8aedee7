// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"slices"

	"golang.org/x/sys/unix"
)

// A survey is our part of the kernel's ruleset, item by item.
type survey struct {
	parts  parts
	chains []ChainRef // the administrator's chains that exist
}

// parts are our table, its sets, objects and chains, and what is ours in the
// administrator's, by their names in nft syntax.
type parts map[string]part

// A part is identified by a hash of what the kernel reports of it and that stays
// when it is made again: no handles, no counters, no elements of pinholes.
type part struct {
	sum   uint64 // 0: unknown
	rules int    // number of rules, of a chain
	own   bool   // in our table
}

// The names of parts.
func tablePart(name string) string         { return "table inet " + name }
func chainPart(r ChainRef) string          { return "chain " + r.words() }
func adminPart(r ChainRef) string          { return "rule of ours in chain " + r.words() }
func (s *set) part() string                { return "set " + s.fullName }
func (o *object) part(table string) string { return "ct " + o.kind() + " inet " + table + " " + o.name }

// described are the parts for cfg. Their hashes are unknown: only the process
// that has just installed them knows how the kernel shows them, see
// Firewall.learn.
func described(cfg Config) parts {
	t := describe(cfg)
	p := parts{tablePart(cfg.Table): {own: true}}
	for i := range t.sets {
		p[t.sets[i].part()] = part{own: true}
	}
	for i := range t.objects {
		p[t.objects[i].part(cfg.Table)] = part{own: true}
	}
	for _, ch := range t.chains {
		p[chainPart(ChainRef{FamilyINet, cfg.Table, ch.name})] = part{own: true, rules: len(ch.rules)}
	}
	for _, s := range adminSets(cfg) {
		p[s.part()] = part{}
	}
	for _, r := range adminRules(cfg) {
		p[adminPart(r.at)] = part{rules: p[adminPart(r.at)].rules + 1}
	}
	return p
}

// Attributes that identify a part, as bits by attribute type, from
// <linux/netfilter/nf_tables.h>.
const (
	tableAttrs  = 1<<unix.NFTA_TABLE_NAME | 1<<unix.NFTA_TABLE_FLAGS | 1<<nftaTableUserdata
	chainAttrs  = 1<<unix.NFTA_CHAIN_NAME | 1<<unix.NFTA_CHAIN_HOOK | 1<<unix.NFTA_CHAIN_POLICY | 1<<unix.NFTA_CHAIN_TYPE | 1<<10 // NFTA_CHAIN_FLAGS
	setAttrs    = 1<<unix.NFTA_SET_NAME | 1<<unix.NFTA_SET_FLAGS | 1<<unix.NFTA_SET_KEY_TYPE | 1<<unix.NFTA_SET_KEY_LEN | 1<<unix.NFTA_SET_DATA_TYPE | 1<<unix.NFTA_SET_DATA_LEN | 1<<unix.NFTA_SET_TIMEOUT | 1<<unix.NFTA_SET_USERDATA
	objectAttrs = 1<<nftaObjName | 1<<nftaObjType | 1<<nftaObjData
	ruleAttrs   = 1<<unix.NFTA_RULE_CHAIN | 1<<unix.NFTA_RULE_EXPRESSIONS | 1<<unix.NFTA_RULE_USERDATA
)

// survey reads everything that cfg puts into the kernel.
func (c *conn) survey(cfg Config) (survey, error) {
	s := survey{parts: parts{}}
	for _, r := range cfg.Chains {
		err := c.checkChain(r)
		if err == nil {
			s.chains = append(s.chains, r)
		} else if !errors.Is(err, ErrNoChain) {
			return s, err
		}
	}
	for _, look := range []func(Config, survey) error{c.surveyOwn, c.surveyAdmin} {
		if err := look(cfg, s); err != nil && !errors.Is(err, unix.ENOENT) {
			return s, &OpError{Op: "look at", Object: "table inet " + cfg.Table, Err: err}
		}
	}
	return s, nil
}

// surveyOwn reads our table.
func (c *conn) surveyOwn(cfg Config, s survey) error {
	d := describe(cfg)
	table := appendString(nil, 1, cfg.Table) // NFTA_TABLE_NAME, and the table's name in each other object
	err := c.look(s, tablePart(cfg.Table), true, tableAttrs, unix.NFT_MSG_GETTABLE, FamilyINet, table)
	if err != nil {
		return err
	}
	for _, ch := range d.chains {
		query := appendString(slices.Clone(table), unix.NFTA_CHAIN_NAME, ch.name)
		if err := c.look(s, chainPart(ChainRef{FamilyINet, cfg.Table, ch.name}), true, chainAttrs, unix.NFT_MSG_GETCHAIN, FamilyINet, query); err != nil && err != unix.ENOENT {
			return err
		}
	}
	for i := range d.sets {
		if err := c.surveySet(s, &d.sets[i], true); err != nil {
			return err
		}
	}
	for _, o := range d.objects {
		query := appendString(slices.Clone(table), nftaObjName, o.name)
		query = appendUint32(query, nftaObjType, o.number())
		if err := c.look(s, o.part(cfg.Table), true, objectAttrs, unix.NFT_MSG_GETOBJ, FamilyINet, query); err != nil && err != unix.ENOENT {
			return err
		}
	}
	return c.surveyRules(s, chainPart, ChainRef{FamilyINet, cfg.Table, ""}, "")
}

// surveyAdmin reads what is ours in the administrator's tables.
func (c *conn) surveyAdmin(cfg Config, s survey) error {
	sets := adminSets(cfg)
	for i := range sets {
		if err := c.surveySet(s, &sets[i], false); err != nil {
			return err
		}
	}
	for _, r := range s.chains {
		if err := c.surveyRules(s, adminPart, r, cfg.Comment()); err != nil && err != unix.ENOENT {
			return err
		}
	}
	return nil
}

// look reads one object and adds it to s.
func (c *conn) look(s survey, name string, own bool, which uint64, msg uint16, f Family, query []byte) error {
	return c.request(msg, 0, f, query, func(_ Family, body []byte) {
		h := fnv.New64a()
		hashAttrs(h, body, which)
		s.parts[name] = part{sum: h.Sum64(), own: own}
	})
}

// surveySet reads a set, and its elements if no one else adds any.
func (c *conn) surveySet(s survey, st *set, own bool) error {
	name := st.part()
	err := c.look(s, name, own, setAttrs, unix.NFT_MSG_GETSET, st.family, appendSetName(nil, st))
	if err == unix.ENOENT {
		return nil
	}
	if err != nil || !st.interval {
		return err
	}
	h := fnv.New64a()
	err = c.elements(st, func(e *element) {
		_, _ = h.Write(e.key.bytes())
		_, _ = fmt.Fprint(h, e.mark)
	})
	s.mix(name, h.Sum64())
	return err
}

// surveyRules adds the rules in a chain or table to the parts, by the name of
// their chain. If comment is not empty only rules with it count; in a table of
// ours all do.
func (c *conn) surveyRules(s survey, name func(ChainRef) string, at ChainRef, comment string) error {
	return c.dumpRules(at, func(_ Family, body []byte) {
		r, have := parseRule(at.Family, body)
		if comment != "" && have != comment {
			return
		}
		h := fnv.New64a()
		hashAttrs(h, body, ruleAttrs)
		p := name(r.at)
		s.mix(p, h.Sum64())
		whole := s.parts[p]
		whole.rules, whole.own = whole.rules+1, comment == ""
		s.parts[p] = whole
	})
}

// mix adds sum to the hash of name; the order matters.
func (s survey) mix(name string, sum uint64) {
	p := s.parts[name]
	h := fnv.New64a()
	_, _ = h.Write(binary.NativeEndian.AppendUint64(nil, p.sum))
	_, _ = h.Write(binary.NativeEndian.AppendUint64(nil, sum))
	p.sum = h.Sum64()
	s.parts[name] = p
}

// hashAttrs hashes the attributes of a message whose types are in which, without
// the values of a rule's counters.
func hashAttrs(h hash.Hash64, body []byte, which uint64) {
	for typ, v := range attrs(body) {
		if typ >= 64 || which>>typ&1 == 0 {
			continue
		}
		_, _ = h.Write([]byte{byte(typ)})
		if which == ruleAttrs && typ == unix.NFTA_RULE_EXPRESSIONS {
			hashExprs(h, v)
		} else {
			_, _ = h.Write(v)
		}
	}
}

func hashExprs(h hash.Hash64, list []byte) {
	for _, elem := range attrs(list) {
		counts := false
		for typ, v := range attrs(elem) {
			counts = counts || typ == unix.NFTA_EXPR_NAME && attrString(v) == "counter"
			if typ == unix.NFTA_EXPR_NAME || !counts {
				_, _ = h.Write(v)
			}
		}
	}
}

// damage names what the kernel lacks of want, or has changed. What belongs into
// chains that do not exist cannot be missing.
func (s survey) damage(cfg Config, want parts) []string {
	table := tablePart(cfg.Table)
	_, there := s.parts[table]
	possible := map[string]bool{}
	here := cfg
	here.Chains = s.chains
	for _, st := range adminSets(here) {
		possible[st.part()] = true
	}
	for _, r := range s.chains {
		possible[adminPart(r)] = true
	}
	var list []string
	for name, w := range want {
		if w.own && !there && name != table || !w.own && !possible[name] {
			continue
		}
		switch have, ok := s.parts[name]; {
		case !ok:
			list = append(list, name)
		case have.rules != w.rules || w.sum != 0 && have.sum != w.sum:
			list = append(list, name+" (changed)")
		}
	}
	for name := range s.parts {
		if _, ok := want[name]; !ok {
			list = append(list, name+" (added)")
		}
	}
	slices.Sort(list)
	return list
}
