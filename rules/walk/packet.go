// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A Hook is a place in the kernel where packets are filtered (NF_INET_*).
type Hook uint32

// The hooks that packets of a connection pass.
const (
	HookPrerouting  Hook = unix.NF_INET_PRE_ROUTING
	HookInput       Hook = unix.NF_INET_LOCAL_IN
	HookForward     Hook = unix.NF_INET_FORWARD
	HookOutput      Hook = unix.NF_INET_LOCAL_OUT
	HookPostrouting Hook = unix.NF_INET_POST_ROUTING

	// HookIngress is where a device hands packets in, before everything else: the
	// hook of tables of families netdev and inet.
	HookIngress = HookPostrouting + 1 // NF_INET_INGRESS
)

// String returns nft's word for h.
func (h Hook) String() string {
	if h > HookIngress {
		return "hook"
	}
	return [...]string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}[h]
}

// A State is the connection's state in "ct state".
type State uint32

// The states of a connection.
const (
	StateInvalid     = State(expr.CtStateBitINVALID)
	StateEstablished = State(expr.CtStateBitESTABLISHED)
	StateRelated     = State(expr.CtStateBitRELATED)
	StateNew         = State(expr.CtStateBitNEW)
	StateUntracked   = State(expr.CtStateBitUNTRACKED)
)

// A Packet is a TCP packet to be simulated. Fields with the zero value are
// unknown: rules that depend on them cannot be judged.
type Packet struct {
	Family   Family // FamilyIPv4 or FamilyIPv6
	Src, Dst netip.Addr
	In, Out  string // interfaces; never the loopback

	SrcPort, DstPort PortRange // 0-0: any
	SYN              bool      // it opens the connection
	Reply            bool      // it goes in the reply direction

	State    State
	Expected bool   // an expectation or a claim of ours made the connection
	Mark     uint32 // ct mark
	MarkMask uint32 // which bits of the ct mark are known

	// Translation is what happens to the destination of the connection.
	Translation Translation

	// Ports of the connection's original direction, for a packet in reply.
	// Otherwise they are SrcPort and DstPort.
	OrigSrcPort, OrigDstPort PortRange

	mark   *value // meta mark, once a rule has set it
	ctMark *value

	at   Hook  // current position, see place
	dnat truth // whether the destination of its connection is translated
	raw  bool  // before conntrack
	late bool  // after destination NAT
	undo bool  // an answer whose source has been translated back
}

func (p *Packet) address(a netip.Addr, name string) value {
	n := 4
	if p.Family == FamilyIPv6 {
		n = 16
	}
	if !a.IsValid() {
		return unknown(name, n)
	}
	return known(name, a.AsSlice())
}

func port2(name string, r PortRange) value {
	if r.High == 0 {
		r.High = 65535
	}
	return inRange(name, r)
}

// word is nft's name of the packet's network protocol.
func (p *Packet) word() string {
	if p.Family == FamilyIPv6 {
		return "ip6"
	}
	return "ip"
}

// network is the IP header, without options.
func (p *Packet) network() value {
	src, dst := p.address(p.Src, p.word()+" saddr"), p.address(p.Dst, p.word()+" daddr")
	v := unknown(p.word()+" header", 20)
	set := func(at int, b, mask byte) { v.bits[at], v.known[at] = b, mask }
	at := 12
	if p.Family == FamilyIPv6 {
		v = unknown("ip6 header", 40)
		set(0, 0x60, 0xf0)
		set(6, unix.IPPROTO_TCP, 0xff)
		at = 8
	} else {
		set(0, 0x45, 0xff)
		set(6, 0, 0xbf) // no fragment: conntrack reassembles them
		set(7, 0, 0xff)
		set(9, unix.IPPROTO_TCP, 0xff)
	}
	n := len(src.bits)
	copy(v.bits[at:], src.bits)
	copy(v.known[at:], src.known)
	copy(v.bits[at+n:], dst.bits)
	copy(v.known[at+n:], dst.known)
	return v
}

// transport is the TCP header, without options.
func (p *Packet) transport() value {
	v := unknown("tcp header", 20)
	for at, port := range map[int]value{0: p.sport(), 2: p.dport()} {
		copy(v.bits[at:], port.bits)
		copy(v.known[at:], port.known)
	}
	v.bits[tcpFlagsOffset], v.known[tcpFlagsOffset] = tcpACK, tcpFIN|tcpSYN|tcpRST|tcpACK
	if p.SYN {
		v.bits[tcpFlagsOffset], v.known[tcpFlagsOffset] = tcpSYN, 0x3f
	}
	return v
}

// payload loads n bytes at an offset from a base of
// <linux/netfilter/nf_tables.h>. ok is false if there are no such bytes, and the
// rule does not match.
func (p *Packet) payload(base, offset, n uint32) (v value, ok bool) {
	var header value
	switch expr.PayloadBase(base) {
	case expr.PayloadBaseNetworkHeader:
		header = p.network()
	case expr.PayloadBaseTransportHeader:
		if n == 2 && offset == 0 {
			return p.sport(), true
		}
		if n == 2 && offset == 2 {
			return p.dport(), true
		}
		header = p.transport()
	case payloadBaseInner:
		return unknown("payload", int(n)), !p.SYN
	default:
		return unknown("link layer header", int(n)), true
	}
	if int(offset)+int(n) > len(header.bits) {
		return unknown(header.name, int(n)), true
	}
	v = value{name: p.field(header.name, offset, n), bits: header.bits[offset : offset+n], known: header.known[offset : offset+n]}
	return v, true
}

// field names a piece of a header that is an address.
func (p *Packet) field(header string, offset, n uint32) string {
	src, size := uint32(12), uint32(4)
	if p.Family == FamilyIPv6 {
		src, size = 8, 16
	}
	switch {
	case header == "tcp header":
	case offset >= src && offset+n <= src+size:
		return p.word() + " saddr"
	case offset >= src+size && offset+n <= src+2*size:
		return p.word() + " daddr"
	}
	return header
}

// ports of the connection's original direction, before any translation.
func (p *Packet) origPorts() (src, dst PortRange) {
	if p.Reply {
		return p.OrigSrcPort, p.OrigDstPort
	}
	return p.SrcPort, p.DstPort
}

// ifname is an interface's name in a register.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// host16 is a number of two bytes in a register.
func host16(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }

// Priorities between which a neighbour sees the same packets as we: before
// PriorityConntrack no packet has a connection.
const (
	PriorityConntrack = -200
	priorityDNAT      = -100
)

// A Translation is what the ruleset's nat chains do to the destination of a
// control connection. Its zero value means unknown.
type Translation struct {
	judged bool
	done   truth
	port   PortRange // port after the translation
}

// NoTranslation is for a connection whose destination stays.
var NoTranslation = Translation{judged: true, done: no}

// May reports whether the destination may be translated.
func (t Translation) May() bool { return !t.judged || t.done != no }

// A translated is a destination translation that a packet may undergo.
type translated struct {
	truth truth
	port  PortRange // the new port, 0-0 if it stays
}

// real is the port that a connection to a dialled port reaches.
func (p *Packet) real(dialled PortRange) PortRange {
	if p.dnat == yes && p.Translation.judged && !p.Expected {
		return p.Translation.port
	}
	return dialled
}

// place moves the packet before the chains of a hook with a priority.
func (p *Packet) place(h Hook, priority int32) {
	const priorityUndo = 100 // NF_IP_PRI_NAT_SRC, also where answers get their source back
	p.at = h
	p.raw = h == HookIngress || (h == HookPrerouting || h == HookOutput) && priority < PriorityConntrack
	p.late = h != HookIngress && h != HookPrerouting && h != HookOutput || priority > priorityDNAT
	p.undo = (h == HookPostrouting || h == HookInput) && priority > priorityUndo
}

// sport is the source port at the current position.
func (p *Packet) sport() value {
	if p.Reply && !p.undo {
		return port2("tcp sport", p.real(p.SrcPort))
	}
	return port2("tcp sport", p.SrcPort)
}

// dport is the destination port at the current position.
func (p *Packet) dport() value {
	if !p.Reply && p.late {
		return port2("tcp dport", p.real(p.DstPort))
	}
	return port2("tcp dport", p.DstPort)
}

// variants are the packet with its destination translated and not, if that is
// unknown.
func (p Packet) variants() []Packet {
	if !p.Translation.judged {
		p.dnat = maybe
		return []Packet{p}
	}
	if p.dnat = p.Translation.done; p.dnat != maybe {
		return []Packet{p}
	}
	stays, goes := p, p
	stays.dnat, goes.dnat = no, yes
	return []Packet{stays, goes}
}
