// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Features is what a kernel's nftables can do for us.
type Features struct {
	NativeQueue bool // nft's queue expression
	XTQueue     bool // the NFQUEUE target of xtables in an inet table; not tried if NativeQueue (ProbeXTQueue does)
	SaneIPv4    bool // ct helper objects of type sane
	SaneIPv6    bool
	Bare        bool // ct expectation objects of size 0
	InnerHeader bool // matches behind the TCP header
	Hash        bool // jhash of the conntrack id
	MaxSegment  bool // tcp option maxseg can be set

	// Missing has the kernel's answer for each feature that is false, by the
	// field's name.
	Missing map[string]error
}

// Probe finds out what the kernel can do, in the calling thread's network
// namespace. Each feature is tried in a table of its own that is added and
// deleted in one transaction: nothing of it is ever seen by a packet. It fails
// only if nothing can be tried: unix.EPERM without CAP_NET_ADMIN.
func Probe() (Features, error) { return probe(0) }

func probe(netns int) (Features, error) {
	f := Features{Missing: map[string]error{}}
	c, err := dial(netns)
	if err != nil {
		return f, err
	}
	defer c.close()
	p := prober{conn: c}
	if err := p.rule(FamilyINet); err != nil {
		return f, err
	}
	note := func(name string, err error) bool {
		if err != nil {
			f.Missing[name] = err
		}
		return err == nil
	}
	f.NativeQueue = note("NativeQueue", p.rule(FamilyINet, queue(QueueNative, 0, true)))
	if !f.NativeQueue {
		f.XTQueue = note("XTQueue", p.xtQueue())
	}
	f.SaneIPv4 = note("SaneIPv4", p.object(object{CarrierSane, "sane4", FamilyIPv4}))
	f.SaneIPv6 = note("SaneIPv6", p.object(object{CarrierSane, "sane6", FamilyIPv6}))
	f.Bare = note("Bare", p.object(object{CarrierBare, "bare4", FamilyIPv4}))
	f.InnerHeader = note("InnerHeader", p.rule(FamilyINet, hasPayload()))
	f.Hash = note("Hash", p.rule(FamilyINet, ctHash(2, 0)))
	f.MaxSegment = note("MaxSegment", p.rule(FamilyINet, clampMSS(controlMSS)))
	return f, nil
}

// ProbeXTQueue tries the NFQUEUE target also where the queue expression is there,
// which loads modules that nobody else may need.
func ProbeXTQueue() error {
	return probeWith(0, func(p *prober) error { return p.xtQueue() })
}

// ProbeProgram finds out whether a rule can run the eBPF socket filter of a
// descriptor, in the same way.
func ProbeProgram(fd int) error { return probeProgram(0, fd) }

func probeProgram(netns, fd int) error {
	return probeWith(netns, func(p *prober) error { return p.xtables(program(fd)) })
}

func probeWith(netns int, try func(*prober) error) error {
	c, err := dial(netns)
	if err != nil {
		return err
	}
	defer c.close()
	return try(&prober{conn: c})
}

// A prober tries things in tables that never come to be.
type prober struct {
	conn *conn
	b    batch
}

// probeTable can be one name for everybody: no table of that name outlives its
// transaction.
const probeTable = "pasvport-probe"

// rule tries a rule in a table of a family.
func (p *prober) rule(f Family, clauses ...clause) error {
	return p.try(f, func(b *batch) error {
		return b.addRule(ChainRef{f, probeTable, "probe"}, newRule(clauses...), unix.NLM_F_APPEND)
	})
}

// xtQueue tries the NFQUEUE target.
func (p *prober) xtQueue() error { return p.xtables(queue(QueueXT, 0, true)) }

// xtables tries a match or a target of xtables. The kernel loads its module by
// itself for tables of family ip only (nft_compat asks for "ipt_NFQUEUE", say).
func (p *prober) xtables(c clause) error {
	err := p.rule(FamilyINet, c)
	if err == nil {
		return nil
	}
	if p.rule(FamilyIPv4, c) != nil {
		return err
	}
	return p.rule(FamilyINet, c)
}

// object tries a carrier and a rule that gives it.
func (p *prober) object(o object) error {
	give := setHelper(o.name)
	if o.carrier == CarrierBare {
		give = setExpectation(o.name)
	}
	return p.try(FamilyINet, func(b *batch) error {
		b.addObject(probeTable, o)
		return b.addRule(ChainRef{FamilyINet, probeTable, "probe"},
			newRule(ctState("new", expr.CtStateBitNEW), give), unix.NLM_F_APPEND)
	})
}

// try commits a table with what fill adds, and its deletion.
func (p *prober) try(f Family, fill func(*batch) error) error {
	p.conn.begin(&p.b, 0)
	p.b.addTable(f, probeTable, "", unix.NLM_F_EXCL)
	p.b.addChain(f, probeTable, chain{name: "probe"})
	if err := fill(&p.b); err != nil {
		return err
	}
	p.b.deleteTable(f, probeTable)
	return p.conn.commit(&p.b)
}
