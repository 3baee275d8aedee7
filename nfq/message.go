// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"errors"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// Message types and attributes, linux/netfilter/nfnetlink_queue.h.
const (
	nfqnlMsgPacket  = unix.NFNL_SUBSYS_QUEUE << 8 // NFQNL_MSG_PACKET is 0
	nfqnlMsgVerdict = unix.NFNL_SUBSYS_QUEUE<<8 | 1
	nfqnlMsgConfig  = unix.NFNL_SUBSYS_QUEUE<<8 | 2

	nfqaPacketHdr  = 1
	nfqaVerdictHdr = 2
	nfqaPayload    = 10

	nfqaCfgCmd         = 1
	nfqaCfgParams      = 2
	nfqaCfgQueueMaxLen = 3
	nfqaCfgMask        = 4
	nfqaCfgFlags       = 5

	nfqnlCfgCmdBind   = 1
	nfqnlCfgCmdPfBind = 3
)

const (
	nlmsgHdrLen    = 16 // struct nlmsghdr
	nfgenmsgLen    = 4  // struct nfgenmsg
	nlattrLen      = 4  // struct nlattr
	packetHdrLen   = 7  // struct nfqnl_msg_packet_hdr, packed
	verdictHdrLen  = 8  // struct nfqnl_msg_verdict_hdr
	verdictLen     = nlmsgHdrLen + nfgenmsgLen + nlattrLen + verdictHdrLen
	nlaTypeMask    = 0x3fff
	copyRange      = 0xffff // whole packets
	maxPayloadAttr = 0xffff - nlattrLen
	// receiveLen holds the longest message: an attribute's length is 16 bits
	// and the packet is the only long one.
	receiveLen = 1 << 17
)

var (
	errShortMessage = errors.New("netlink message too short")
	errNoPacket     = errors.New("message without packet header or payload")
)

// appendAttr appends one attribute with its padding.
func appendAttr(dst []byte, typ uint16, data ...byte) []byte {
	dst = binary.NativeEndian.AppendUint16(dst, uint16(nlattrLen+len(data)))
	dst = binary.NativeEndian.AppendUint16(dst, typ)
	dst = append(dst, data...)
	return appendPadding(dst, len(data))
}

// appendPadding appends what n bytes lack to NLA_ALIGNTO.
func appendPadding(dst []byte, n int) []byte {
	for ; n%4 != 0; n++ {
		dst = append(dst, 0)
	}
	return dst
}

// appendGenmsg appends a struct nfgenmsg; res_id, here the queue number, is big endian.
func appendGenmsg(dst []byte, queue uint16) []byte {
	dst = append(dst, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(dst, queue)
}

// appendBind appends the body of the one config message that binds the queue.
// Command, copy mode, length and flags are sent together, so that no packet is
// queued in the kernel's initial mode, which copies no payload
// (nfqnl_recv_config, net/netfilter/nfnetlink_queue.c).
func appendBind(dst []byte, c Config) []byte {
	dst = appendGenmsg(dst, c.Num)
	dst = appendAttr(dst, nfqaCfgCmd, nfqnlCfgCmdBind, 0, 0, unix.AF_UNSPEC)
	return appendParams(dst, c)
}

// appendParams appends the parameters of a config message besides the command.
func appendParams(dst []byte, c Config) []byte {
	var flags uint32
	if c.FailOpen {
		flags |= nfqueue.NfQaCfgFlagFailOpen
	}
	mask := uint32(nfqueue.NfQaCfgFlagFailOpen)
	if c.Zones {
		flags |= nfqueue.NfQaCfgFlagConntrack
		mask |= nfqueue.NfQaCfgFlagConntrack
	}
	dst = appendAttr(dst, nfqaCfgParams, append(be32(copyRange), nfqueue.NfQnlCopyPacket)...)
	dst = appendAttr(dst, nfqaCfgQueueMaxLen, be32(c.MaxLen)...)
	dst = appendAttr(dst, nfqaCfgMask, be32(mask)...)
	return appendAttr(dst, nfqaCfgFlags, be32(flags)...)
}

// appendNoop appends the body of a config message that needs CAP_NET_ADMIN and
// does nothing: binding an address family, obsolete since Linux 3.8.
func appendNoop(dst []byte) []byte {
	return appendAttr(appendGenmsg(dst, 0), nfqaCfgCmd, nfqnlCfgCmdPfBind, 0, 0, unix.AF_INET)
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// appendVerdict appends a whole verdict message, with data as the packet's new
// content if it is not nil. It requests no acknowledgement; the kernel answers
// only if it fails.
func appendVerdict(dst []byte, queue uint16, id, verdict uint32, data []byte) []byte {
	n := verdictLen
	if data != nil {
		n += nlattrLen + (len(data)+3)&^3
	}
	dst = binary.NativeEndian.AppendUint32(dst, uint32(n))
	dst = binary.NativeEndian.AppendUint16(dst, nfqnlMsgVerdict)
	dst = binary.NativeEndian.AppendUint16(dst, unix.NLM_F_REQUEST)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // sequence number and port: none
	dst = appendGenmsg(dst, queue)
	dst = binary.NativeEndian.AppendUint16(dst, nlattrLen+verdictHdrLen)
	dst = binary.NativeEndian.AppendUint16(dst, nfqaVerdictHdr)
	dst = binary.BigEndian.AppendUint32(dst, verdict)
	dst = binary.BigEndian.AppendUint32(dst, id)
	if data == nil {
		return dst
	}
	return appendAttr(dst, nfqaPayload, data...)
}

// nextMessage cuts the first netlink message from b. Its body is a slice of b.
func nextMessage(b []byte) (typ uint16, body, rest []byte, err error) {
	if len(b) < nlmsgHdrLen {
		return 0, nil, nil, errShortMessage
	}
	n := int64(binary.NativeEndian.Uint32(b))
	if n < nlmsgHdrLen || n > int64(len(b)) {
		return 0, nil, nil, errShortMessage
	}
	typ = binary.NativeEndian.Uint16(b[4:])
	return typ, b[nlmsgHdrLen:n], b[min(int(n+3)&^3, len(b)):], nil
}

// parsePacketMessage reads id, hook and content of a packet message's body. The
// content is a slice of b, or nil. seen reports whether id is valid, so that a
// verdict can be given even if the rest is not.
func parsePacketMessage(b []byte) (id uint32, hook uint8, data []byte, seen bool, err error) {
	if len(b) < nfgenmsgLen {
		return 0, 0, nil, false, errShortMessage
	}
	for b = b[nfgenmsgLen:]; len(b) >= nlattrLen; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < nlattrLen || n > len(b) {
			return id, hook, nil, seen, errShortMessage
		}
		v := b[nlattrLen:n]
		switch binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask {
		case nfqaPacketHdr:
			if len(v) < packetHdrLen {
				return 0, 0, nil, false, errShortMessage
			}
			id, hook, seen = binary.BigEndian.Uint32(v), v[6], true
		case nfqaPayload:
			data = v
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	if !seen || data == nil {
		return id, hook, nil, seen, errNoPacket
	}
	return id, hook, data, true, nil
}
