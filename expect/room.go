// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// expStatsCPU is IPCTNL_MSG_EXP_GET_STATS_CPU, and the attributes of its answer
// are of enum ctattr_expect_stats in
// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	expStatsCPU          = unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 | 3
	ctaStatsExpectCreate = 2
	ctaStatsExpectDelete = 3
)

// CountExpectations returns how many expectations the network namespace has, of
// any helper. The kernel counts per processor how many were created and deleted,
// 32 bits wide.
func (c *Conn) CountExpectations() (int, error) {
	c.begin(expStatsCPU, unix.NLM_F_DUMP, unix.AF_UNSPEC)
	c.out = endRequest(c.out, 0)
	var n uint32
	err := c.dump(func(b []byte) error {
		a := attrs{rest: b}
		for a.next() {
			switch a.typ {
			case ctaStatsExpectCreate:
				n += a.u32()
			case ctaStatsExpectDelete:
				n -= a.u32()
			}
		}
		if a.bad {
			return errMalformed
		}
		return nil
	})
	return int(int32(n)), opError("count expectations", Tuple{}, err)
}

// MostExpectations returns how many the kernel has room for in each network
// namespace (nf_conntrack_expect_max), or 0 if unknown.
func MostExpectations() int {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_expect_max")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return n
}
