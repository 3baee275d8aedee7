// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"errors"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// A packet is queued without its conntrack zone, unless the queue is told to add
// the packet's conntrack entry (NFQA_CFG_F_CONNTRACK). Not every kernel supports
// that (CONFIG_NETFILTER_NETLINK_GLUE_CT).

const (
	nfqaCt  = 11
	ctaZone = 18 // CTA_ZONE, linux/netfilter/nfnetlink_conntrack.h; big endian
)

// probeQueue is a queue that is usually not bound while features are probed.
const probeQueue = 0xffff

// ProbeZones reports whether the kernel can report the conntrack zone of queued
// packets, in the network namespace of the calling thread. It binds no queue: the
// kernel refuses the flag before it looks for the queue (nfqnl_recv_config).
func ProbeZones() error {
	nf, err := nfqueue.Open(&nfqueue.Config{NfQueue: probeQueue})
	if err != nil {
		return &OpError{"open", probeQueue, err}
	}
	// The kernel makes close wait for what nftables deletes, some ten
	// milliseconds (nft_rcv_nl_event in net/netfilter/nf_tables_api.c). There is
	// no need to wait here.
	defer func() { go nf.Con.Close() }()
	err = configure(nf.Con, appendZones(nil, probeQueue))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return &OpError{"ask for zones", probeQueue, err}
}

func appendZones(dst []byte, num uint16) []byte {
	const flag = nfqueue.NfQaCfgFlagConntrack
	dst = appendGenmsg(dst, num)
	dst = appendAttr(dst, nfqaCfgMask, be32(flag)...)
	return appendAttr(dst, nfqaCfgFlags, be32(flag)...)
}

// parseZone reads the zone of the packet's conntrack entry from a packet
// message's body. It is 0, the default zone, if the message has none: the packet
// has no entry, or one that is in a zone in one direction only.
func parseZone(b []byte) uint16 {
	if len(b) < nfgenmsgLen {
		return 0
	}
	entry := attrValue(b[nfgenmsgLen:], nfqaCt)
	if v := attrValue(entry, ctaZone); len(v) >= 2 {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

// attrValue returns the value of the first attribute of a type, or nil.
func attrValue(b []byte, typ uint16) []byte {
	for len(b) >= nlattrLen {
		n := int(binary.NativeEndian.Uint16(b))
		if n < nlattrLen || n > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&nlaTypeMask == typ {
			return b[nlattrLen:n]
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}
