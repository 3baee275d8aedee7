// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// loopbackIndex is the loopback's interface index in every network namespace.
const loopbackIndex = 1

// meta loads a key of "meta" at a hook.
func (p *Packet) meta(key uint32, at Hook) value {
	in, out := at != HookOutput && at != HookPostrouting, at != HookPrerouting && at != HookInput && at != HookIngress
	switch key {
	case unix.NFT_META_NFPROTO:
		return known("meta nfproto", []byte{uint8(p.Family)})
	case unix.NFT_META_L4PROTO:
		return known("meta l4proto", []byte{unix.IPPROTO_TCP})
	case unix.NFT_META_PROTOCOL:
		if p.Family == FamilyIPv6 {
			return known("meta protocol", []byte{0x86, 0xdd})
		}
		return known("meta protocol", []byte{0x08, 0x00})
	case unix.NFT_META_MARK:
		if p.mark != nil {
			return *p.mark
		}
		return known("meta mark", host32(0))
	case unix.NFT_META_IIFNAME:
		return linkName("iifname", p.In, in)
	case unix.NFT_META_OIFNAME:
		return linkName("oifname", p.Out, out)
	case unix.NFT_META_IIF:
		return linkNumber("iif", in)
	case unix.NFT_META_OIF:
		return linkNumber("oif", out)
	case unix.NFT_META_IIFTYPE, unix.NFT_META_OIFTYPE:
		v := unknown("interface type", 2)
		v.not = [][]byte{host16(unix.ARPHRD_LOOPBACK)}
		return v
	case unix.NFT_META_PKTTYPE:
		return known("meta pkttype", []byte{0}) // PACKET_HOST
	}
	return unknown(metaName(key), 4)
}

// linkName is an interface's name; has says whether there is one at this hook.
func linkName(name, have string, has bool) value {
	switch {
	case !has:
		return known(name, ifname(""))
	case have != "":
		return known(name, ifname(have))
	}
	v := unknown(name, unix.IFNAMSIZ)
	v.not = [][]byte{ifname("lo"), ifname("")}
	return v
}

func linkNumber(name string, has bool) value {
	if !has {
		return known(name, host32(0))
	}
	v := unknown(name, 4)
	v.not = [][]byte{host32(loopbackIndex), host32(0)}
	return v
}

func metaName(key uint32) string {
	names := map[uint32]string{
		unix.NFT_META_LEN: "meta length", unix.NFT_META_SKUID: "meta skuid", unix.NFT_META_SKGID: "meta skgid",
		unix.NFT_META_IIFGROUP: "iifgroup", unix.NFT_META_OIFGROUP: "oifgroup", unix.NFT_META_CGROUP: "meta cgroup",
	}
	if n := names[key]; n != "" {
		return n
	}
	return fmt.Sprintf("meta key %d", key)
}

// state is the connection's state at the current position.
func (p *Packet) state() State {
	if p.raw {
		return StateInvalid
	}
	return p.State
}

// ct loads a key of "ct". dir is 0 for the original direction, 1 for reply.
func (p *Packet) ct(key uint32, dir uint8) value {
	src, dst := p.origPorts()
	switch key {
	case unix.NFT_CT_STATE:
		return known("ct state", host32(uint32(p.state())))
	case unix.NFT_CT_DIRECTION:
		if p.Reply {
			return known("ct direction", []byte{1})
		}
		return known("ct direction", []byte{0})
	case unix.NFT_CT_STATUS:
		return p.status()
	case unix.NFT_CT_MARK:
		if p.ctMark != nil {
			return *p.ctMark
		}
		return partly("ct mark", p.Mark, p.MarkMask)
	case unix.NFT_CT_L3PROTOCOL:
		return known("ct l3proto", []byte{uint8(p.Family)})
	case unix.NFT_CT_PROTOCOL:
		return known("ct protocol", []byte{unix.IPPROTO_TCP})
	case unix.NFT_CT_PROTO_SRC, unix.NFT_CT_PROTO_DST:
		switch {
		case key == unix.NFT_CT_PROTO_DST && dir == 0:
			return port2("ct proto-dst", dst)
		case key == unix.NFT_CT_PROTO_SRC && dir == 1:
			return port2("ct reply proto-src", p.real(dst))
		}
		return port2("ct proto-src", src)
	case unix.NFT_CT_HELPER:
		// That of the master. Ours is never the one that speaks FTP.
		v := unknown("ct helper", 16)
		v.not = [][]byte{append([]byte("ftp"), make([]byte, 13)...)}
		return v
	case unix.NFT_CT_ZONE:
		return known("ct zone", host16(0))
	}
	return unknown(ctName(key), ctSize(key, p.Family))
}

func ctSize(key uint32, f Family) int {
	switch key {
	case unix.NFT_CT_SRC, unix.NFT_CT_DST:
		if f == FamilyIPv6 {
			return 16
		}
	case unix.NFT_CT_SRC_IP6, unix.NFT_CT_DST_IP6, unix.NFT_CT_LABELS, unix.NFT_CT_HELPER:
		return 16
	case unix.NFT_CT_PKTS, unix.NFT_CT_BYTES, unix.NFT_CT_AVGPKT:
		return 8
	}
	return 4
}

func ctName(key uint32) string {
	names := map[uint32]string{
		unix.NFT_CT_HELPER: "ct helper", unix.NFT_CT_LABELS: "ct label", unix.NFT_CT_ID: "ct id",
		unix.NFT_CT_SRC: "ct saddr", unix.NFT_CT_DST: "ct daddr", unix.NFT_CT_SRC_IP: "ct ip saddr", unix.NFT_CT_DST_IP: "ct ip daddr",
		unix.NFT_CT_SRC_IP6: "ct ip6 saddr", unix.NFT_CT_DST_IP6: "ct ip6 daddr",
		unix.NFT_CT_BYTES: "ct bytes", unix.NFT_CT_PKTS: "ct packets",
	}
	if n := names[key]; n != "" {
		return n
	}
	return fmt.Sprintf("ct key %d", key)
}

// Types of addresses that "fib" knows (RTN_* of <linux/rtnetlink.h>).
const (
	routeUnicast = unix.RTN_UNICAST
	routeLocal   = unix.RTN_LOCAL
)

// fib asks the routing table. It assumes correct routes in both directions, which
// is what rules with "fib ... oif missing" test.
func (p *Packet) fib(result, flags uint32, at Hook) value {
	if result != unix.NFT_FIB_RESULT_ADDRTYPE {
		size := 4
		if result == unix.NFT_FIB_RESULT_OIFNAME {
			size = unix.IFNAMSIZ
		}
		if flags&unix.NFTA_FIB_F_PRESENT != 0 {
			return known("fib", host32(1))
		}
		v := unknown("fib", size)
		v.not = [][]byte{make([]byte, size)}
		return v
	}
	switch {
	case flags&unix.NFTA_FIB_F_DADDR != 0 && at == HookInput, flags&unix.NFTA_FIB_F_SADDR != 0 && at == HookOutput:
		return known("fib type", host32(routeLocal))
	case flags&unix.NFTA_FIB_F_DADDR != 0 && at == HookPrerouting, flags&unix.NFTA_FIB_F_SADDR != 0 && at == HookPostrouting:
		// One of the two: TCP has no multicast.
		v := unknown("fib type", 4)
		for kind := range uint32(unix.RTN_XRESOLVE + 1) {
			if kind != routeUnicast && kind != routeLocal {
				v.not = append(v.not, host32(kind))
			}
		}
		return v
	}
	return known("fib type", host32(routeUnicast))
}
