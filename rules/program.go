// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// struct xt_bpf_info_v1 of <linux/netfilter/xt_bpf.h>.
const (
	xtBPFModeFD   = 2 // XT_BPF_MODE_FD_ELF: a program of the calling process
	xtBPFPathMax  = 512
	xtBPFInfoSize = 8 + xtBPFPathMax + 8 // mode and descriptor, path, the kernel's own pointer
)

// wordlessText begins the text of a clause for which nft has no syntax.
const wordlessText = "(eBPF program)"

// program matches packets for which an eBPF socket filter, given by its
// descriptor, does not return 0. The kernel takes its own reference to it while
// the rule is being added (__bpf_mt_check_fd).
func program(fd int) clause {
	info := make(xt.Unknown, xtBPFInfoSize)
	binary.NativeEndian.PutUint16(info, xtBPFModeFD)
	binary.NativeEndian.PutUint32(info[4:], uint32(int32(fd)))
	return plain(wordlessText, &expr.Match{Name: "bpf", Rev: 1, Info: &info})
}

// wordless reports whether nft has no syntax for r.
func (r rule) wordless() bool {
	for _, c := range r.clauses {
		if c.text == wordlessText {
			return true
		}
	}
	return false
}
