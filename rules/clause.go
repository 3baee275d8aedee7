// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// A clause is one match or one action of a rule, in nft syntax and in the
// kernel's expressions side by side.
type clause struct {
	text  string
	needs protocols
	exprs []expr.Any
	gives protocols // what it matches itself
}

// protocols are those that nft matches implicitly before a clause that needs them
// ("tcp dport" implies "meta l4proto tcp"), once in a rule.
type protocols uint8

const (
	needTCP protocols = 1 << iota
	needIPv4
	needIPv6
)

// A rule is a list of clauses. note is an explanation printed above it.
type rule struct {
	note    string
	clauses []clause
	comment string
}

func newRule(clauses ...clause) rule { return rule{clauses: clauses} }

func (r rule) explained(note string) rule { r.note = note; return r }

// String is r as nft prints it.
func (r rule) String() string {
	words := make([]string, len(r.clauses), len(r.clauses)+1)
	for i, c := range r.clauses {
		words[i] = c.text
	}
	if r.comment != "" {
		words = append(words, fmt.Sprintf("comment %q", r.comment))
	}
	return strings.Join(words, " ")
}

// exprs are the expressions of r in a table of family f, with those that nft
// would add.
func (r rule) exprs(f Family) []expr.Any {
	var have protocols
	switch f {
	case FamilyIPv4:
		have = needIPv4
	case FamilyIPv6:
		have = needIPv6
	}
	var out []expr.Any
	for _, c := range r.clauses {
		missing := c.needs &^ have
		if missing&needIPv4 != 0 {
			out = append(out, nfproto(FamilyIPv4).exprs...)
		}
		if missing&needIPv6 != 0 {
			out = append(out, nfproto(FamilyIPv6).exprs...)
		}
		if missing&needTCP != 0 {
			out = append(out, l4proto().exprs...)
		}
		have |= c.needs | c.gives
		out = append(out, c.exprs...)
	}
	return out
}

// plain is a clause that needs no protocol.
func plain(text string, exprs ...expr.Any) clause { return clause{text: text, exprs: exprs} }

// ofTCP is a clause that reads the TCP header.
func ofTCP(text string, exprs ...expr.Any) clause {
	return clause{text: text, needs: needTCP, exprs: exprs}
}

// reg is the register for single values.
const reg = unix.NFT_REG_1

func equal(v []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: v} }

func nonzero() *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: host32(0)} }

func bitwise(mask, xor []byte) *expr.Bitwise {
	return &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(mask)), Mask: mask, Xor: xor}
}

func host32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// l4proto is: meta l4proto tcp
func l4proto() clause {
	return clause{text: "meta l4proto tcp", gives: needTCP, exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		equal([]byte{unix.IPPROTO_TCP}),
	}}
}

// nfproto is: meta nfproto ipv4
func nfproto(ip Family) clause {
	name, gives := "ipv4", needIPv4
	if ip == FamilyIPv6 {
		name, gives = "ipv6", needIPv6
	}
	return clause{text: "meta nfproto " + name, gives: gives, exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg},
		equal([]byte{uint8(ip)}),
	}}
}

// iifLoopback is: meta iiftype loopback
func iifLoopback() clause {
	return plain("meta iiftype loopback",
		&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: reg},
		equal(binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_LOOPBACK)))
}

// metaIIFKind is NFT_META_IIFKIND of nf_tables.h, since Linux 5.6.
const metaIIFKind = 26

// iifVRF is: meta iifkind "vrf"
func iifVRF() clause {
	kind := make([]byte, unix.IFNAMSIZ)
	copy(kind, "vrf")
	return plain(`meta iifkind "vrf"`, &expr.Meta{Key: metaIIFKind, Register: reg}, equal(kind))
}

// ctState is: ct state new
func ctState(name string, bit uint32) clause {
	return plain("ct state "+name,
		&expr.Ct{Key: expr.CtKeySTATE, Register: reg}, bitwise(host32(bit), host32(0)), nonzero())
}

// ctStatusExpected is IPS_EXPECTED of nf_conntrack_common.h: an expectation made
// the connection, or ctnetlink gave it a master.
const ctStatusExpected = 1

// ctExpected is: ct status expected
func ctExpected() clause {
	return plain("ct status expected",
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg}, bitwise(host32(ctStatusExpected), host32(0)), nonzero())
}

// ctUnexpected is: ct status & expected == 0
func ctUnexpected() clause {
	return plain("ct status & expected == 0",
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg}, bitwise(host32(ctStatusExpected), host32(0)), equal(host32(0)))
}

// ctOriginal is: ct direction original
func ctOriginal() clause {
	return plain("ct direction original",
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg},
		equal([]byte{0})) // IP_CT_DIR_ORIGINAL
}

// ctOriginalDport is: ct original proto-dst @set
//
// nft knows the type of proto-dst only after a match of the protocol, and does
// not add one on its own.
func ctOriginalDport(set string) clause {
	return ofTCP("ct original proto-dst @"+set,
		&expr.Ct{Key: expr.CtKeyPROTODST, Register: reg, Direction: 0},
		&expr.Lookup{SourceRegister: reg, SetName: set})
}

// ofSane is: ct helper "sane"
//
// For a connection with a master this is the master's helper (nft_ct_get_eval).
func ofSane() clause {
	name := make([]byte, 16) // NF_CT_HELPER_NAME_LEN
	copy(name, "sane")
	return plain(`ct helper "sane"`, &expr.Ct{Key: expr.CtKeyHELPER, Register: reg}, equal(name))
}

// fewEvents is: ct event set new,related,destroy,reply,assured,seqadj,label
//
// PROTOINFO is left out, which is each change of the TCP state; an event that is
// reported for another reason still has the state. Also left out are events that
// nft can print but not parse, as a saved ruleset has to load: helper, mark,
// secmark.
func fewEvents() clause {
	const mask = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<8 | 1<<10 // IPCT_NEW and so on, nf_conntrack_common.h
	return plain("ct event set new,related,destroy,reply,assured,seqadj,label",
		&expr.Immediate{Register: reg, Data: host32(mask)},
		&expr.Ct{Key: unix.NFT_CT_EVENTMASK, Register: reg, SourceRegister: true})
}

// otherZone is: ct zone != 0
func otherZone() clause {
	return plain("ct zone != 0",
		&expr.Ct{Key: expr.CtKeyZONE, Register: reg},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: []byte{0, 0}})
}

// ctIn is: ct id @name
func ctIn(name string) clause {
	return plain("ct id @"+name,
		&expr.Ct{Key: unix.NFT_CT_ID, Register: reg},
		&expr.Lookup{SourceRegister: reg, SetName: name})
}

// dynsetDelete is NFT_DYNSET_OP_DELETE of nf_tables.h, since Linux 5.4.
const dynsetDelete = 2

// dynset is, for instance: update @aside { ct id }
//
// An update renews the timeout of an existing element, and keeps its note
// (nft_rhash_update in net/netfilter/nft_set_hash.c).
func dynset(word string, op uint32, set string) clause {
	return plain(word+" @"+set+" { ct id }",
		&expr.Ct{Key: unix.NFT_CT_ID, Register: reg},
		&expr.Dynset{SrcRegKey: reg, SetName: set, Operation: op})
}

// ctMark is: ct mark & mask == value
func ctMark(mask, value uint32) clause {
	return plain(fmt.Sprintf("ct mark & 0x%08x == 0x%08x", mask, value),
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg}, bitwise(host32(mask), host32(0)), equal(host32(value)))
}

// setCtMark is: ct mark set ct mark | bits
func setCtMark(bits uint32) clause {
	return plain(fmt.Sprintf("ct mark set ct mark | 0x%08x", bits),
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
		bitwise(host32(^bits), host32(bits)),
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: true})
}

// Bits of the TCP header's flags octet, and its offset.
const (
	tcpFIN, tcpSYN, tcpRST, tcpACK = 0x01, 0x02, 0x04, 0x10
	tcpFlagsOffset                 = 13
)

// tcpFlags is: tcp flags & mask == value
func tcpFlags(text string, mask, value uint8) clause {
	return ofTCP("tcp flags & "+text,
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlagsOffset, Len: 1},
		bitwise([]byte{mask}, []byte{0}), equal([]byte{value}))
}

// firstSYN matches the packet that opens a connection.
func firstSYN() clause {
	return tcpFlags("(fin | syn | rst | ack) == syn", tcpFIN|tcpSYN|tcpRST|tcpACK, tcpSYN)
}

// anySYN matches SYN and SYN-ACK.
func anySYN() clause { return tcpFlags("syn == syn", tcpSYN, tcpSYN) }

// synOrReset is: tcp flags & (syn | rst) != 0x0
func synOrReset() clause {
	return ofTCP("tcp flags & (syn | rst) != 0x0",
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlagsOffset, Len: 1},
		bitwise([]byte{tcpSYN | tcpRST}, []byte{0}),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: []byte{0}})
}

// dport is: tcp dport @set
func dport(set string) clause { return port("tcp dport @"+set, 2, set) }

// sport is: tcp sport @set
func sport(set string) clause { return port("tcp sport @"+set, 0, set) }

func port(text string, offset uint32, set string) clause {
	return ofTCP(text,
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Lookup{SourceRegister: reg, SetName: set})
}

// pinhole is: ip saddr . ip daddr . tcp dport @set
func pinhole(ip Family, set string) clause {
	word, need, src, size := "ip", needIPv4, uint32(12), uint32(4)
	if ip == FamilyIPv6 {
		word, need, src, size = "ip6", needIPv6, 8, 16
	}
	// A concatenation fills 32-bit registers from the first on.
	const first = unix.NFT_REG32_00
	load := func(r uint32, base expr.PayloadBase, offset, n uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: base, Offset: offset, Len: n}
	}
	c := ofTCP(fmt.Sprintf("%s saddr . %[1]s daddr . tcp dport @%s", word, set),
		load(first, expr.PayloadBaseNetworkHeader, src, size),
		load(first+size/4, expr.PayloadBaseNetworkHeader, src+size, size),
		load(first+size/2, expr.PayloadBaseTransportHeader, 2, 2),
		&expr.Lookup{SourceRegister: first, SetName: set})
	c.needs |= need
	return c
}

// payloadBaseInner is NFT_PAYLOAD_INNER_HEADER: after the TCP header.
const payloadBaseInner = 3

// hasPayload is: @ih,0,8 >= 0
//
// The comparison always holds; what matters is that without payload the load of
// its first byte fails, and with it the rule.
func hasPayload() clause {
	return plain("@ih,0,8 >= 0",
		&expr.Payload{DestRegister: reg, Base: payloadBaseInner, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpGte, Register: reg, Data: []byte{0}})
}

// payloadStarts is: @ih,0,32 value
func payloadStarts(value uint32) clause {
	return plain(fmt.Sprintf("@ih,0,32 0x%08x", value),
		&expr.Payload{DestRegister: reg, Base: payloadBaseInner, Offset: 0, Len: 4},
		equal(binary.BigEndian.AppendUint32(nil, value)))
}

// hashSeed is set in each hash: without one the kernel draws a seed for each
// rule, and a packet would match two of them or none.
const hashSeed = 0x70617376

// ctHash is: jhash ct id mod n seed 0x70617376 == i
func ctHash(n, i uint32) clause {
	return plain(fmt.Sprintf("jhash ct id mod %d seed 0x%x == %d", n, hashSeed, i),
		&expr.Ct{Key: unix.NFT_CT_ID, Register: unix.NFT_REG_2},
		&expr.Hash{SourceRegister: unix.NFT_REG_2, DestRegister: reg, Length: 4, Modulus: n, Seed: hashSeed, Type: expr.HashTypeJenkins},
		equal(host32(i)))
}

// QueueOf returns which of n queues gets the packets of a conntrack id, as ctHash tells
// the kernel: jhash in include/linux/jhash.h, nft_jhash_eval in net/netfilter/nft_hash.c.
func QueueOf(id uint32, n int) int {
	const start = (0xdeadbeef + 4 + hashSeed) & math.MaxUint32
	a, b, c := uint32(start), uint32(start), uint32(start)
	a += bits.ReverseBytes32(id) // of its bytes as netlink has them
	for _, r := range [][3]int{{14, 11, 25}, {16, 4, 14}} {
		c = (c ^ b) - bits.RotateLeft32(b, r[0])
		a = (a ^ c) - bits.RotateLeft32(c, r[1])
		b = (b ^ a) - bits.RotateLeft32(a, r[2])
	}
	c = (c ^ b) - bits.RotateLeft32(b, 24)
	return int(uint64(c) * uint64(n) >> 32)
}

// setHelper is: ct helper set "name"
func setHelper(name string) clause {
	return plain(fmt.Sprintf("ct helper set %q", name), &expr.Objref{Type: unix.NFT_OBJECT_CT_HELPER, Name: name})
}

// setExpectation is: ct expectation set "name"
func setExpectation(name string) clause {
	return plain(fmt.Sprintf("ct expectation set %q", name), &expr.Objref{Type: unix.NFT_OBJECT_CT_EXPECT, Name: name})
}

// clampMSS is: tcp option maxseg size set n
//
// The kernel never raises the option (nft_exthdr_tcp_set_eval).
func clampMSS(n uint16) clause {
	return ofTCP(fmt.Sprintf("tcp option maxseg size set %d", n),
		&expr.Immediate{Register: reg, Data: binary.BigEndian.AppendUint16(nil, n)},
		&expr.Exthdr{SourceRegister: reg, Op: expr.ExthdrOpTcpopt, Type: 2, Offset: 2, Len: 2})
}

// counter is: counter
func counter() clause { return plain("counter", &expr.Counter{}) }

func accept() clause { return plain("accept", &expr.Verdict{Kind: expr.VerdictAccept}) }

func drop() clause { return plain("drop", &expr.Verdict{Kind: expr.VerdictDrop}) }

// reset is: reject with tcp reset
func reset() clause {
	return ofTCP("reject with tcp reset", &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
}

// leave is: return
func leave() clause { return plain("return", &expr.Verdict{Kind: expr.VerdictReturn}) }

// jump is: jump chain
func jump(chain string) clause {
	return plain("jump "+chain, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

// goTo is: goto chain
func goTo(chain string) clause {
	return plain("goto "+chain, &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain})
}

// queue is: queue flags bypass to num
//
// Without bypass packets are dropped while no one listens. The text is nft's own
// statement for either kind: nft has no syntax for the target.
func queue(kind QueueKind, num uint16, bypass bool) clause {
	c := clause{text: fmt.Sprintf("queue to %d", num)}
	native := &expr.Queue{Num: num, Total: 1}
	info := xt.Unknown(slices.Concat(
		// struct xt_NFQ_info_v3: queuenum, queues_total, flags, padded to 8.
		binary.NativeEndian.AppendUint16(nil, num),
		binary.NativeEndian.AppendUint16(nil, 1),
		make([]byte, 4),
	))
	if bypass {
		c.text = fmt.Sprintf("queue flags bypass to %d", num)
		native.Flag = expr.QueueFlagBypass
		binary.NativeEndian.PutUint16(info[4:], 1) // NFQ_FLAG_BYPASS
	}
	c.exprs = []expr.Any{native}
	if kind == QueueXT {
		c.exprs = []expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}}
	}
	return c
}
