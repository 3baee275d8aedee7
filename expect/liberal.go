// SPDX-License-Identifier: Apache-2.0

package expect

import "golang.org/x/sys/unix"

// From include/uapi/linux/netfilter/nfnetlink_conntrack.h, enum
// ctattr_protoinfo_tcp, and nf_conntrack_tcp.h.
const (
	ctaProtoinfoTCPFlagsOriginal = 4
	ctaProtoinfoTCPFlagsReply    = 5

	tcpFlagBeLiberal = 0x08 // IP_CT_TCP_FLAG_BE_LIBERAL
)

// SetLiberal stops conntrack from checking the connection's segments against its
// windows (tcp_in_window in net/netfilter/nf_conntrack_proto_tcp.c), in both
// directions. It is for a connection whose sequence numbers are adjusted behind
// conntrack's back: conntrack sees the bytes of one side and the acknowledgements
// of other bytes, and would call them invalid. The error is ENOENT if the entry
// is gone.
func (c *Conn) SetLiberal(original Tuple) error {
	if !original.valid() {
		return opError("set liberal", original, errTuple)
	}
	c.beginIn(ctNew, unix.NLM_F_ACK, original)
	c.out = appendTuple(c.out, ctaTupleOrig, original)
	var info, tcp int
	c.out, info = beginNested(c.out, ctaProtoinfo)
	c.out, tcp = beginNested(c.out, ctaProtoinfoTCP)
	c.out = appendTCPFlags(c.out, ctaProtoinfoTCPFlagsOriginal, tcpFlagBeLiberal)
	c.out = appendTCPFlags(c.out, ctaProtoinfoTCPFlagsReply, tcpFlagBeLiberal)
	c.out = endNested(endNested(c.out, tcp), info)
	c.out = endRequest(c.out, 0)
	return opError("set liberal", original, c.execute())
}

// appendTCPFlags appends a struct nf_ct_tcp_flags that sets flags.
func appendTCPFlags(dst []byte, typ uint16, flags uint8) []byte {
	dst = appendAttrHeader(dst, typ, 2)
	return append(dst, flags, flags, 0, 0)
}
