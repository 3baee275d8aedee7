// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"math"

	"golang.org/x/sys/unix"
)

// Offsets of classic BPF, from include/uapi/linux/filter.h.
const (
	skfAdOff    = 0xfffff000 // SKF_AD_OFF
	skfAdNlattr = 12         // SKF_AD_NLATTR: A = offset of attribute X, sought from offset A on; 0: none
)

// markFilter is a socket filter that passes the messages with a CTA_MARK that
// equals mark under mask:
//
//	    ld  #20                  ; after struct nlmsghdr and nfgenmsg
//	    ldx #CTA_MARK
//	    ld  nlattr
//	    jeq #0, drop
//	    tax
//	    ld  [x + 4]              ; its value, in network order
//	    and #mask
//	    jne #mark, drop
//	    ret #-1
//	drop: ret #0
//
// The kernel puts the mark into every event unless it is zero
// (ctnetlink_conntrack_event), so with a mark of zero nothing passes that has
// none.
func markFilter(mark, mask uint32) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_IMM, K: nlmsgHeaderLen + nfgenLen},
		{Code: unix.BPF_LDX | unix.BPF_IMM, K: ctaMark},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: skfAdOff + skfAdNlattr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 5},
		{Code: unix.BPF_MISC | unix.BPF_TAX},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_IND, K: attrHeaderLen},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: mark & mask, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

func attachFilter(fd int, prog []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}
