// SPDX-License-Identifier: Apache-2.0

package walk

import "golang.org/x/sys/unix"

// Options of a TCP header (RFC 9293 section 3.2, RFC 7323).
const (
	optionMSS       = 2
	optionWindow    = 3
	optionSACKs     = 4 // SACK permitted
	optionSACK      = 5
	optionTimestamp = 8
)

// leastMSS is the least segment size that hosts announce: more than the default
// without an announcement, 536 bytes (RFC 9293 section 3.7.1). A smaller one is
// an attack, which many rulesets drop.
const leastMSS = 537

// option runs "exthdr": options of TCP and IPv4, extension headers of IPv6. FTP
// packets have none of the latter two. A rule that changes an option does not
// matter.
func (m *machine) option(a map[uint16][]byte) {
	dreg, loads := a[unix.NFTA_EXTHDR_DREG]
	if !loads {
		return
	}
	there, kind := no, uint8(0)
	if t := a[unix.NFTA_EXTHDR_TYPE]; len(t) == 1 {
		kind = t[0]
	}
	if be32(a[unix.NFTA_EXTHDR_OP]) == unix.NFT_EXTHDR_OP_TCPOPT {
		there = m.packet.hasOption(kind)
	}
	const name = "a header option"
	if be32(a[unix.NFTA_EXTHDR_FLAGS])&unix.NFT_EXTHDR_F_PRESENT != 0 {
		v := known(name, []byte{uint8(there / yes)})
		if there == maybe {
			v = unknown(name, 1)
		}
		m.regs.set(be32(dreg), v)
		return
	}
	m.must(there, name)
	n := be32(a[unix.NFTA_EXTHDR_LEN])
	v := unknown(name, int(min(n, 64)))
	if kind == optionMSS && n == 2 && be32(a[unix.NFTA_EXTHDR_OFFSET]) == 2 {
		v = inRange("tcp option maxseg", PortRange{Low: leastMSS, High: 65535})
	}
	m.regs.set(be32(dreg), v)
}

// hasOption reports whether the packet has a TCP option.
func (p *Packet) hasOption(kind uint8) truth {
	switch kind {
	case optionMSS:
		return certain(p.SYN)
	case optionWindow, optionSACKs:
		if !p.SYN {
			return no
		}
		return maybe
	case optionSACK:
		if p.SYN {
			return no
		}
		return maybe
	case optionTimestamp:
		return maybe
	}
	return no
}
