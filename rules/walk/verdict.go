// SPDX-License-Identifier: Apache-2.0

package walk

import "golang.org/x/sys/unix"

// Verdicts as the kernel numbers them (<linux/netfilter.h>, nf_tables.h).
const (
	verdictDrop     = 0
	verdictAccept   = 1
	verdictQueue    = 3
	verdictContinue = -1
	verdictJump     = -3
	verdictGoto     = -4
	verdictReturn   = -5
)

// A walkVerdict is the end of a rule.
type walkVerdict struct {
	code  int32
	chain string
}

// parseVerdict reads NFTA_DATA_VERDICT.
func parseVerdict(b []byte) walkVerdict {
	a := collect(b)
	return walkVerdict{int32(be32(a[unix.NFTA_VERDICT_CODE])), attrString(a[unix.NFTA_VERDICT_CHAIN])}
}
