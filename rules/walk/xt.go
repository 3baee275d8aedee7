// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Matches and targets of xtables, as iptables-nft puts them into nftables. The
// structures are those of <linux/netfilter/xt_*.h>, in host order.

// xtMatch runs a match.
func (m *machine) xtMatch(name string, rev uint32, info []byte) {
	switch {
	case name == "comment":
	case name == "conntrack" && rev >= 1 && len(info) >= 154:
		m.must(m.xtConntrack(rev, info), "match conntrack")
	case name == "state" && len(info) >= 4:
		m.must(certain(binary.NativeEndian.Uint32(info)&xtState(m.packet.State) != 0), "match state")
	case name == "tcp" && len(info) >= 12:
		m.must(m.xtTCP(info), "match tcp")
	case name == "multiport" && rev == 1 && len(info) >= 48:
		m.must(m.xtMultiport(info), "match multiport")
	case name == "addrtype" && rev == 1 && len(info) >= 8:
		m.must(m.xtAddrtype(info), "match addrtype")
	case (name == "mark" || name == "connmark") && len(info) >= 9:
		v := m.packet.meta(unix.NFT_META_MARK, m.hook)
		if name == "connmark" {
			v = m.packet.ct(unix.NFT_CT_MARK, 0)
		}
		m.must(inverted(v.masked(info[4:8], make([]byte, 4)).equals(info[:4]), info[8] != 0), v.name)
	case name == "udp", name == "icmp", name == "icmp6", name == "sctp":
		m.must(no, "")
	default:
		m.must(maybe, "match "+name)
	}
}

func inverted(t truth, invert bool) truth {
	if invert {
		return t.not()
	}
	return t
}

// xtState is XT_STATE_BIT: invalid is 1, the others follow enum
// ip_conntrack_info.
func xtState(s State) uint32 {
	switch s {
	case StateEstablished:
		return 1 << 1
	case StateRelated:
		return 1 << 2
	case StateNew:
		return 1 << 3
	case StateUntracked:
		return 1 << 8
	}
	return 1
}

// xtConntrack is struct xt_conntrack_mtinfo1 to 3.
func (m *machine) xtConntrack(rev uint32, info []byte) truth {
	const flagState, flagProto, flagStatus, flagAlias = 1 << 0, 1 << 1, 1 << 6, 1 << 13
	flags, invert := binary.NativeEndian.Uint16(info[146:]), binary.NativeEndian.Uint16(info[148:])
	state, status := uint32(info[150]), uint32(info[151])
	if rev > 1 {
		state, status = uint32(binary.NativeEndian.Uint16(info[150:])), uint32(binary.NativeEndian.Uint16(info[152:]))
	}
	t := yes
	if flags&flagState != 0 {
		have := state&xtState(m.packet.State) != 0
		if !have && state&(1<<6|1<<7) != 0 { // SNAT, DNAT
			t = maybe
		} else {
			t = min(t, inverted(certain(have), invert&flagState != 0))
		}
	}
	if flags&flagProto != 0 {
		t = min(t, inverted(certain(binary.NativeEndian.Uint16(info[136:]) == unix.IPPROTO_TCP), invert&flagProto != 0))
	}
	if flags&flagStatus != 0 {
		v := m.packet.ct(unix.NFT_CT_STATUS, 0).masked(host32(status), host32(0))
		t = min(t, inverted(v.equals(host32(0)).not(), invert&flagStatus != 0))
	}
	if flags&^(flagState|flagProto|flagStatus|flagAlias) != 0 {
		t = min(t, maybe)
	}
	return t
}

// portBounds are two ports in network order from two in host order.
func portBounds(info []byte) (low, high []byte) {
	at := func(b []byte) []byte { return binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(b)) }
	return at(info), at(info[2:])
}

// xtTCP is struct xt_tcp.
func (m *machine) xtTCP(info []byte) truth {
	const invSource, invDest, invFlags, invOption = 1, 2, 4, 8
	option, mask, want, invert := info[8], info[9], info[10], info[11]
	low, high := portBounds(info)
	t := inverted(port2("tcp sport", m.packet.SrcPort).within(low, high), invert&invSource != 0)
	low, high = portBounds(info[4:])
	t = min(t, inverted(port2("tcp dport", m.packet.DstPort).within(low, high), invert&invDest != 0))
	if mask != 0 {
		flags, _ := m.packet.payload(2, tcpFlagsOffset, 1)
		t = min(t, inverted(flags.masked([]byte{mask}, []byte{0}).equals([]byte{want}), invert&invFlags != 0))
	}
	if option != 0 {
		t = min(t, maybe)
	}
	return t
}

// xtMultiport is struct xt_multiport_v1.
func (m *machine) xtMultiport(info []byte) truth {
	const source, destination, either = 0, 1, 2
	count := min(int(info[1]), 15)
	ports, ends := info[2:32], info[32:47]
	in := func(v value) truth {
		t := no
		for i := 0; i < count; i++ {
			low, high := portBounds(append(bytes.Clone(ports[2*i:2*i+2]), ports[2*i:2*i+2]...))
			if ends[i] != 0 && i+1 < count {
				low, high = portBounds(ports[2*i:])
				i++
			}
			t = max(t, v.within(low, high))
		}
		return t
	}
	src, dst := in(port2("", m.packet.SrcPort)), in(port2("", m.packet.DstPort))
	t := max(src, dst)
	switch info[0] {
	case source:
		t = src
	case destination:
		t = dst
	case either:
	}
	return inverted(t, info[47] != 0)
}

// xtAddrtype is struct xt_addrtype_info_v1; its types are those of fib, as bits.
func (m *machine) xtAddrtype(info []byte) truth {
	const invSource, invDest, limits = 1, 2, 4 | 8
	source, dest := binary.NativeEndian.Uint16(info), binary.NativeEndian.Uint16(info[2:])
	flags := binary.NativeEndian.Uint32(info[4:])
	side := func(mask uint16, fibFlag uint32) truth {
		v := m.packet.fib(unix.NFT_FIB_RESULT_ADDRTYPE, fibFlag, m.hook)
		if !v.whole() {
			return maybe
		}
		return certain(mask&(1<<binary.NativeEndian.Uint32(v.bits)) != 0)
	}
	t := yes
	if source != 0 {
		t = min(t, inverted(side(source, unix.NFTA_FIB_F_SADDR), flags&invSource != 0))
	}
	if dest != 0 {
		t = min(t, inverted(side(dest, unix.NFTA_FIB_F_DADDR), flags&invDest != 0))
	}
	if flags&limits != 0 {
		t = min(t, maybe)
	}
	return t
}

// xtTarget runs a target.
func (m *machine) xtTarget(name string, info []byte) {
	switch name {
	case "REJECT", "DROP":
		m.end(walkVerdict{code: verdictDrop})
	case "ACCEPT":
		m.end(walkVerdict{code: verdictAccept})
	case "NFQUEUE":
		m.xtQueue(info)
	case "CT", "NOTRACK":
		m.xtCT(name, info)
	case "CONNMARK":
		m.xtConnmark(info)
	case "MARK":
		m.do(effect{kind: effectMark, value: unknown("meta mark", 4)})
	case "LOG", "NFLOG", "AUDIT", "TRACE", "TCPMSS", "DSCP", "TOS", "TTL", "HL", "CLASSIFY", "SET", "CHECKSUM":
	default:
		m.out.depends = append(m.out.depends, "target "+name)
		m.out.branches = append(m.out.branches, branch{maybe, walkVerdict{code: verdictQueue}})
		m.done = true
	}
}

func (m *machine) xtQueue(info []byte) {
	if len(info) >= 4 {
		num, total := binary.NativeEndian.Uint16(info), binary.NativeEndian.Uint16(info[2:])
		m.do(effect{kind: effectQueue, low: num, high: num + max(total, 1) - 1})
	}
	m.end(walkVerdict{code: verdictQueue})
}

// xtCT is struct xt_ct_target_info and its later revisions: flags, zone, two
// event masks, the helper's name. Flags tell of zones that come from marks.
func (m *machine) xtCT(name string, info []byte) {
	const flagNotrack, flagZoneMark = 1, 1 << 4
	if name == "NOTRACK" || len(info) >= 2 && binary.NativeEndian.Uint16(info)&flagNotrack != 0 {
		m.do(effect{kind: effectNotrack})
	}
	if len(info) >= 4 && (binary.NativeEndian.Uint16(info)&flagZoneMark != 0 || binary.NativeEndian.Uint16(info[2:]) != 0) {
		m.do(effect{kind: effectZone})
	}
	if len(info) >= 28 {
		if helper := attrString(info[12:28]); helper != "" {
			if i := bytes.IndexByte([]byte(helper), 0); i >= 0 {
				helper = helper[:i]
			}
			m.do(effect{kind: effectHelper, name: helper})
		}
	}
}

// xtConnmark is struct xt_connmark_tginfo1 and 2: mark, mask, packet's mask, mode.
func (m *machine) xtConnmark(info []byte) {
	const modeSet, modeSave = 0, 1
	if len(info) < 13 {
		return
	}
	old := m.packet.ct(unix.NFT_CT_MARK, 0)
	mask := bytes.Clone(info[4:8])
	for i := range mask {
		mask[i] = ^mask[i]
	}
	switch info[12] {
	case modeSet:
		m.do(effect{kind: effectCtMark, value: old.masked(mask, info[:4])})
	case modeSave:
		v := old.masked(mask, make([]byte, 4))
		for i := range mask {
			v.known[i] &= mask[i]
		}
		m.do(effect{kind: effectCtMark, value: v})
	}
}
