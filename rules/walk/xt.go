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
		m.must(m.xtConntrack(rev, info), "")
	case name == "state" && len(info) >= 4:
		m.must(certain(binary.NativeEndian.Uint32(info)&xtState(m.packet.state()) != 0), "match state")
	case name == "tcp" && len(info) >= 12:
		m.must(m.xtTCP(info), "match tcp")
	case name == "multiport" && rev == 1 && len(info) >= 48:
		m.must(m.xtMultiport(info), "match multiport")
	case name == "addrtype" && rev == 1 && len(info) >= 8:
		m.must(m.xtAddrtype(info), "match addrtype")
	case (name == "mark" || name == "connmark") && len(info) >= 9:
		v := m.packet.meta(unix.NFT_META_MARK, m.hook)
		if name == "connmark" {
			m.must(certain(!m.packet.raw), "")
			v = m.packet.ct(unix.NFT_CT_MARK, 0)
		}
		m.must(inverted(v.masked(info[4:8], make([]byte, 4)).equals(info[:4]), info[8] != 0), v.name)
	case name == "udp", name == "icmp", name == "icmp6", name == "sctp", name == "dccp", name == "ah", name == "esp":
		m.must(no, "")
	case name == "rt", name == "frag", name == "hbh", name == "dst", name == "mh":
		m.must(no, "") // IPv6 extension headers, which FTP packets do not have
	case name == "rpfilter" && len(info) >= 1:
		const invert = 8 // assumes correct routes, as with fib
		m.must(certain(info[0]&invert == 0), "")
	case name == "pkttype" && len(info) >= 8:
		m.must(certain((binary.NativeEndian.Uint32(info) == unix.PACKET_HOST) == (binary.NativeEndian.Uint32(info[4:]) == 0)), "")
	case name == "helper" && len(info) >= 34:
		m.must(m.xtHelper(info), "match helper")
	case name == "tcpmss" && len(info) >= 5:
		m.must(m.xtMSS(info), "match tcpmss")
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
	const (
		flagState, flagProto, flagStatus          = 1 << 0, 1 << 1, 1 << 6
		flagDialled, flagDirection, flagAlias     = 1 << 9, 1 << 12, 1 << 13
		stateSNAT, stateDNAT                      = 1 << 6, 1 << 7
		dialledPort, dialledPortHigh, rangedSince = 140, 156, 3
	)
	flags, invert := binary.NativeEndian.Uint16(info[146:]), binary.NativeEndian.Uint16(info[148:])
	state, status := uint32(info[150]), uint32(info[151])
	if rev > 1 {
		state, status = uint32(binary.NativeEndian.Uint16(info[150:])), uint32(binary.NativeEndian.Uint16(info[152:]))
	}
	t := yes
	if m.packet.raw && flags&^(flagState|flagAlias) != 0 {
		return no
	}
	if flags&flagState != 0 {
		have := certain(state&xtState(m.packet.state()) != 0)
		for of, bit := range map[uint32]uint32{stateSNAT: statusSNAT, stateDNAT: statusDNAT} {
			if state&of != 0 && !m.packet.raw {
				have = max(have, m.packet.status().masked(host32(bit), host32(0)).equals(host32(0)).not())
			}
		}
		if have == maybe {
			m.depends(DependsTranslation)
		}
		t = min(t, inverted(have, invert&flagState != 0))
	}
	if flags&flagProto != 0 {
		t = min(t, inverted(certain(binary.NativeEndian.Uint16(info[136:]) == unix.IPPROTO_TCP), invert&flagProto != 0))
	}
	if flags&flagStatus != 0 {
		v := m.packet.status().masked(host32(status), host32(0))
		have := v.equals(host32(0)).not()
		if have == maybe {
			m.depends(v.name)
		}
		t = min(t, inverted(have, invert&flagStatus != 0))
	}
	if flags&flagDirection != 0 {
		t = min(t, inverted(certain(!m.packet.Reply), invert&flagDirection != 0))
	}
	if flags&flagDialled != 0 {
		_, port := m.packet.origPorts()
		low := bytes.Clone(info[dialledPort : dialledPort+2])
		high := low
		if rev >= rangedSince && len(info) >= dialledPortHigh+2 {
			low, high = swap2(low), swap2(info[dialledPortHigh:])
		}
		t = min(t, inverted(port2("", port).within(low, high), invert&flagDialled != 0))
	}
	if flags&^(flagState|flagProto|flagStatus|flagDialled|flagDirection|flagAlias) != 0 {
		m.depends("match conntrack")
		t = min(t, maybe)
	}
	return t
}

// portBounds converts two ports from host to network order.
func portBounds(info []byte) (low, high []byte) {
	at := func(b []byte) []byte { return binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(b)) }
	return at(info), at(info[2:])
}

// xtTCP is struct xt_tcp.
func (m *machine) xtTCP(info []byte) truth {
	const invSource, invDest, invFlags, invOption = 1, 2, 4, 8
	option, mask, want, invert := info[8], info[9], info[10], info[11]
	low, high := portBounds(info)
	t := inverted(m.packet.sport().within(low, high), invert&invSource != 0)
	low, high = portBounds(info[4:])
	t = min(t, inverted(m.packet.dport().within(low, high), invert&invDest != 0))
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
	src, dst := in(m.packet.sport()), in(m.packet.dport())
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
		if v.whole() {
			return certain(mask&(1<<binary.NativeEndian.Uint32(v.bits)) != 0)
		}
		switch mask & (1<<routeUnicast | 1<<routeLocal) {
		case 1<<routeUnicast | 1<<routeLocal:
			return yes
		case 0:
			return no
		}
		return maybe
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
		m.xtMark(info)
	case "DNAT", "REDIRECT", "NETMAP":
		if m.hook == HookPrerouting || m.hook == HookOutput {
			m.dnat(xtNewPorts(info))
		}
		m.end(walkVerdict{code: verdictAccept})
	case "SNAT", "MASQUERADE":
		m.end(walkVerdict{code: verdictAccept})
	case "TARPIT", "DELUDE", "CHAOS":
		m.end(walkVerdict{code: verdictDrop})
	case "LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "TCPMSS", "TCPOPTSTRIP", "DSCP", "TOS", "TTL", "HL", "CLASSIFY", "SET",
		"CHECKSUM", "CONNSECMARK", "SECMARK", "TEE", "RATEEST", "IDLETIMER", "LED", "ECN", "HMARK", "NFACCT":
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
// event masks, the helper's name. The flags say whether zones come from marks.
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
	const modeSet, modeSave, modeRestore = 0, 1, 2
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
	case modeRestore:
		v := unknown("meta mark", 4)
		if all := host32(^uint32(0)); bytes.Equal(info[4:8], all) && bytes.Equal(info[8:12], all) {
			v = old
		}
		m.do(effect{kind: effectMark, value: v})
	}
}

// xtMark is struct xt_mark_tginfo2: mark, mask.
func (m *machine) xtMark(info []byte) {
	if len(info) < 8 {
		m.do(effect{kind: effectMark, value: unknown("meta mark", 4)})
		return
	}
	keep := bytes.Clone(info[4:8])
	for i := range keep {
		keep[i] = ^keep[i]
	}
	m.do(effect{kind: effectMark, value: m.packet.meta(unix.NFT_META_MARK, m.hook).masked(keep, info[:4])})
}

// xtHelper is struct xt_helper_info: invert, name. It looks at the master's
// helper, and ours is never the one that speaks FTP.
func (m *machine) xtHelper(info []byte) truth {
	invert := binary.NativeEndian.Uint32(info) != 0
	switch {
	case !m.packet.Expected:
		return certain(invert) // there is no master
	case info[4] == 0: // any helper
		return maybe
	case attrString(info[4:8]) == "ftp":
		return certain(invert)
	}
	return maybe
}

// xtMSS is struct xt_tcpmss_match_info: least, most, invert. Without the option
// nothing matches, or everything if inverted.
func (m *machine) xtMSS(info []byte) truth {
	t := no
	if m.packet.SYN {
		low, high := portBounds(info)
		t = inRange("", PortRange{Low: leastMSS, High: 65535}).within(low, high)
	}
	return inverted(t, info[4] != 0)
}

// xtNewPorts are the bounds of a translation's ports, 0 and 0 if the port stays:
// struct nf_nat_ipv4_multi_range_compat, nf_nat_range or nf_nat_range2 of
// <linux/netfilter/nf_nat.h>, told apart by their lengths.
func xtNewPorts(info []byte) (low, high uint16) {
	const specified = 2 // NF_NAT_RANGE_PROTO_SPECIFIED
	flags, at := 0, 36
	if len(info) < 36 {
		flags, at = 4, 16
	}
	switch {
	case len(info) < at+4:
		return 1, 65535
	case binary.NativeEndian.Uint32(info[flags:])&specified == 0:
		return 0, 0
	}
	return number(info[at : at+2]), number(info[at+2 : at+4])
}

// swap2 converts a number of two bytes from host to network order.
func swap2(b []byte) []byte {
	return binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(b))
}
