// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"encoding/binary"
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// Offsets of classic BPF, from include/uapi/linux/filter.h.
const (
	skfAdOff    = 0xfffff000 // SKF_AD_OFF
	skfAdNlattr = 12         // SKF_AD_NLATTR: A = offset of attribute X, sought from offset A on; 0: none
	// SKF_AD_NLATTR_NEST: the same inside of the attribute at offset A.
	skfAdNlattrNest = 16
)

// eventFilter is a socket filter that passes the messages with a CTA_MARK that
// equals mark under mask, but for changes to a state of TCP that says nothing
// new: a data connection has seven events, and three of them are of use.
//
//	    ld  #20                  ; after struct nlmsghdr and nfgenmsg
//	    ldx #CTA_MARK
//	    ld  nlattr
//	    jeq #0, drop
//	    tax
//	    ld  [x + 4]              ; its value, in network order
//	    and #mask
//	    jne #mark, drop
//	    ldh [6]                  ; flags: an entry is new
//	    jne #0, pass
//	    ldh [4]                  ; type: it is gone
//	    jne #IPCTNL_MSG_CT_NEW, pass
//	    ld  #20
//	    ldx #CTA_PROTOINFO
//	    ld  nlattr
//	    jeq #0, pass
//	    ldx #CTA_PROTOINFO_TCP
//	    ld  nlattr_nest
//	    jeq #0, pass
//	    ldx #CTA_PROTOINFO_TCP_STATE
//	    ld  nlattr_nest
//	    jeq #0, pass
//	    tax
//	    ldb [x + 4]
//	    jeq #TCP_CONNTRACK_ESTABLISHED, drop
//	    jeq #TCP_CONNTRACK_CLOSE_WAIT, drop
//	    jeq #TCP_CONNTRACK_LAST_ACK, drop
//	    jne #TCP_CONNTRACK_FIN_WAIT, pass
//	    ld  #20
//	    ldx #CTA_STATUS
//	    ld  nlattr
//	    jeq #0, pass
//	    tax
//	    ld  [x + 4]
//	    jset #IPS_EXPECTED, drop
//	pass: ret #-1
//	drop: ret #0
//
// The kernel puts the mark into every event unless it is zero
// (ctnetlink_conntrack_event), so with a mark of zero nothing passes that has
// none.
func eventFilter(mark, mask uint32) []unix.SockFilter {
	const (
		jumpIfEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		pass, drop  = 254, 255 // as targets of jumps, until they are resolved
	)
	newEntry := uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, ctNew)))
	load := func(size uint16, offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: offset}
	}
	// attribute makes A the offset of an attribute among those behind the headers,
	// or of one within that at offset A.
	start := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_IMM, K: nlmsgHeaderLen + nfgenLen}
	attribute := func(typ, how uint32, without uint8) []unix.SockFilter {
		return []unix.SockFilter{
			{Code: unix.BPF_LDX | unix.BPF_IMM, K: typ}, load(unix.BPF_B, skfAdOff+how), {Code: jumpIfEqual, K: 0, Jt: without},
		}
	}
	value := func(size uint16) []unix.SockFilter {
		return []unix.SockFilter{{Code: unix.BPF_MISC | unix.BPF_TAX}, {Code: unix.BPF_LD | size | unix.BPF_IND, K: attrHeaderLen}}
	}
	prog := slices.Concat(
		[]unix.SockFilter{start},
		attribute(ctaMark, skfAdNlattr, drop), value(unix.BPF_W), []unix.SockFilter{
			{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask},
			{Code: jumpIfEqual, K: mark & mask, Jf: drop},
			load(unix.BPF_H, 6), {Code: jumpIfEqual, K: 0, Jf: pass},
			load(unix.BPF_H, 4), {Code: jumpIfEqual, K: newEntry, Jf: pass}, start,
		},
		attribute(ctaProtoinfo, skfAdNlattr, pass),
		attribute(ctaProtoinfoTCP, skfAdNlattrNest, pass),
		attribute(ctaProtoinfoTCPState, skfAdNlattrNest, pass), value(unix.BPF_B), []unix.SockFilter{
			{Code: jumpIfEqual, K: uint32(TCPStateEstablished), Jt: drop},
			{Code: jumpIfEqual, K: uint32(TCPStateCloseWait), Jt: drop},
			{Code: jumpIfEqual, K: uint32(TCPStateLastAck), Jt: drop},
			{Code: jumpIfEqual, K: uint32(TCPStateFinWait), Jf: pass}, start,
		},
		attribute(ctaStatus, skfAdNlattr, pass), value(unix.BPF_W), []unix.SockFilter{
			{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: uint32(StatusExpected), Jt: drop},
			{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
			{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		})
	for i := range prog {
		for _, jump := range []*uint8{&prog[i].Jt, &prog[i].Jf} {
			if *jump >= pass {
				*jump = uint8(len(prog) - 3 - i + int(*jump-pass))
			}
		}
	}
	return prog
}

func attachFilter(fd int, prog []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}
