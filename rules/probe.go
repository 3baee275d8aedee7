// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"sort"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Features are the kernel's nftables features that we need.
type Features struct {
	NativeQueue bool // nft's queue expression
	XTQueue     bool // the NFQUEUE target of xtables in an inet table; not tried if NativeQueue (ProbeXTQueue does)
	SaneIPv4    bool // ct helper objects of type sane
	SaneIPv6    bool
	Bare        bool // ct expectation objects of size 0
	InnerHeader bool // matches after the TCP header
	Hash        bool // jhash of the conntrack id
	MaxSegment  bool // tcp option maxseg can be set

	// Missing has the kernel's error for each feature that is false, by the
	// field's name.
	Missing map[string]error
}

// Probe finds out what the kernel supports, in the calling thread's network
// namespace. It fails only if it can try nothing: unix.EPERM without
// CAP_NET_ADMIN.
func Probe() (Features, error) { return probe(0) }

func probe(netns int) (Features, error) {
	f := Features{Missing: map[string]error{}}
	c, err := dial(netns)
	if err != nil {
		return f, err
	}
	defer c.close()
	p := prober{conn: c}
	mine, err := c.otherTables("")
	if err != nil {
		return f, err
	}
	trySane := func(ip Family) attempt {
		o := object{carrier: CarrierSane, name: "sane-" + ip.String(), ip: ip}
		if len(mine) > 0 {
			return tryHelperType(o)
		}
		return tryCarrier(o)
	}
	list := []struct {
		name string
		have *bool
		try  attempt
	}{
		{"NativeQueue", &f.NativeQueue, tryRule(queue(QueueNative, 0, true))},
		{"SaneIPv4", &f.SaneIPv4, trySane(FamilyIPv4)},
		{"SaneIPv6", &f.SaneIPv6, trySane(FamilyIPv6)},
		{"Bare", &f.Bare, tryCarrier(object{carrier: CarrierBare, name: "bare4", ip: FamilyIPv4})},
		{"InnerHeader", &f.InnerHeader, tryRule(hasPayload())},
		{"Hash", &f.Hash, tryRule(ctHash(2, 0))},
		{"MaxSegment", &f.MaxSegment, tryRule(clampMSS(controlMSS))},
	}
	attempts := make([]attempt, len(list))
	for i := range list {
		attempts[i] = list[i].try
	}
	missing, err := p.try(FamilyINet, attempts...)
	if err != nil {
		return f, err
	}
	for i, err := range missing {
		if errors.Is(err, errHelperType) {
			err = nil
		}
		if *list[i].have = err == nil; err != nil {
			f.Missing[list[i].name] = err
		}
	}
	if !f.NativeQueue {
		err := p.xtQueue()
		if f.XTQueue = err == nil; err != nil {
			f.Missing["XTQueue"] = err
		}
	}
	return f, nil
}

// ProbeXTQueue tries the NFQUEUE target even if the queue expression exists. This
// may load modules that nothing else needs.
func ProbeXTQueue() error {
	return probeWith(0, func(p *prober) error { return p.xtQueue() })
}

// ProbeProgram finds out whether a rule can run the eBPF socket filter of a
// descriptor.
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

// A prober tries things in one transaction, in a table that is deleted in it: no
// packet ever sees them. One transaction, because what it deletes is destroyed an
// RCU grace period later, some ten milliseconds, and others wait for that
// (nft_compat_wait_for_destructors, nft_rcv_nl_event).
type prober struct {
	conn *conn
	b    batch
}

// An attempt adds something to the table probeTable, which has the chain probe.
type attempt func(*batch, Family) error

// probeTable can be one name for all processes: no table of that name outlives
// its transaction.
const probeTable = "pasvport-probe"

// tryRule tries a rule.
func tryRule(clauses ...clause) attempt {
	return func(b *batch, f Family) error {
		return b.addRule(ChainRef{f, probeTable, "probe"}, newRule(clauses...), unix.NLM_F_APPEND)
	}
}

// tryCarrier tries a carrier and a rule that uses it.
func tryCarrier(o object) attempt {
	give := setHelper(o.name)
	if o.carrier == CarrierBare {
		give = setExpectation(o.name)
	}
	return func(b *batch, f Family) error {
		b.addObject(probeTable, o)
		return tryRule(ctState("new", expr.CtStateBitNEW), give)(b, f)
	}
}

// tryHelperType tries whether objects like o exist, with one that lacks its
// protocol: the answer is errHelperType if they do. Deleting a real one makes the
// kernel drop all packets that wait in queues (see makeWay), and if a table of
// ours is installed some may wait. Whether the helper itself exists shows when a
// connection is created with it.
func tryHelperType(o object) attempt {
	return func(b *batch, f Family) error {
		b.open(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE, f, "try", "ct helper "+o.name)
		b.buf = appendString(b.buf, nftaObjTable, probeTable)
		b.buf = appendString(b.buf, nftaObjName, o.name)
		b.buf = appendUint32(b.buf, nftaObjType, o.number())
		var data int
		b.buf, data = openNest(b.buf, nftaObjData)
		b.buf = appendString(b.buf, unix.NFTA_CT_HELPER_NAME, "sane")
		b.buf = closeAttr(b.buf, data)
		b.done()
		return nil
	}
}

// errHelperType is nft_ct_helper_obj_init's error for an object without its
// protocol.
const errHelperType = unix.EINVAL

// xtQueue finds out whether the NFQUEUE target exists: first by asking, which
// creates nothing that has to be destroyed, and that the next transaction with a
// target would wait for.
func (p *prober) xtQueue() error {
	if p.conn.hasTarget("NFQUEUE", 3) == nil {
		return nil
	}
	return p.xtables(queue(QueueXT, 0, true))
}

// Of <linux/netfilter/nf_tables_compat.h>.
const (
	nftaCompatName   = 1
	nftaCompatRev    = 2
	nftaCompatType   = 3
	compatTypeTarget = 1
	nfnlMsgCompatGet = 0
)

// hasTarget asks nft_compat for a revision of an xtables target, as iptables-nft
// does. It answers for IPv4, and loads the module.
func (c *conn) hasTarget(name string, revision uint32) error {
	b := appendString(nil, nftaCompatName, name)
	b = appendUint32(b, nftaCompatRev, revision)
	b = appendUint32(b, nftaCompatType, compatTypeTarget)
	return c.ask(unix.NFNL_SUBSYS_NFT_COMPAT<<8|nfnlMsgCompatGet, 0, FamilyIPv4, b, func(Family, []byte) {})
}

// xtables tries a match or a target of xtables. The kernel loads its module on
// its own for tables of family ip only (nft_compat asks for "ipt_NFQUEUE", say).
func (p *prober) xtables(c clause) error {
	err := p.tryOne(FamilyINet, tryRule(c))
	if err == nil {
		return nil
	}
	if p.tryOne(FamilyIPv4, tryRule(c)) != nil {
		return err
	}
	return p.tryOne(FamilyINet, tryRule(c))
}

func (p *prober) tryOne(f Family, t attempt) error {
	refused, err := p.try(f, t)
	if err != nil {
		return err
	}
	return refused[0]
}

// try returns the kernel's answer to each attempt; err if it could try nothing.
// The kernel processes all messages of a batch, also those after a failed one
// (nfnetlink_rcv_batch in net/netfilter/nfnetlink.c).
func (p *prober) try(f Family, attempts ...attempt) (refused []error, err error) {
	b := &p.b
	p.conn.begin(b, 0)
	b.addTable(f, probeTable, "", unix.NLM_F_EXCL)
	b.addChain(f, probeTable, chain{name: "probe"})
	begins := make([]uint32, len(attempts), len(attempts)+1) // the first message of each
	for i, t := range attempts {
		begins[i] = b.seq
		if err := t(b, f); err != nil {
			return nil, err
		}
	}
	begins = append(begins, b.seq)
	b.deleteTable(f, probeTable)
	refused = make([]error, len(attempts))
	exchanged := p.conn.exchange(b, func(seq uint32, errno unix.Errno) {
		switch i := sort.Search(len(begins), func(i int) bool { return begins[i] > seq }) - 1; {
		case i < 0 && err == nil:
			err = b.failed(seq, errno)
		case i >= 0 && i < len(attempts) && refused[i] == nil:
			refused[i] = b.failed(seq, errno)
		}
	})
	if exchanged != nil {
		return nil, exchanged
	}
	return refused, err
}
