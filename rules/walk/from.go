// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/rules"
)

// The terms for rulesets of others, as in package rules.
type (
	Family    = rules.Family
	ChainRef  = rules.ChainRef
	PortRange = rules.PortRange
	Config    = rules.Config
)

const (
	FamilyINet = rules.FamilyINet
	FamilyIPv4 = rules.FamilyIPv4
	FamilyIPv6 = rules.FamilyIPv6

	familyNetdev Family = unix.NFPROTO_NETDEV
)

// From the TCP header and <linux/netfilter/nf_tables.h>.
const (
	tcpFIN, tcpSYN, tcpRST, tcpACK = 0x01, 0x02, 0x04, 0x10
	tcpFlagsOffset                 = 13
	payloadBaseInner               = 3
	nftaObjTable                   = 1
	nftaObjName                    = 2
	nftaObjType                    = 3
	nftaObjData                    = 4
	udataRuleComment               = 0
)

func host32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func attrs(b []byte) iter.Seq2[uint16, []byte] { return rules.Attributes(b) }

func attrString(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

func udataString(b []byte, typ uint8) (string, bool) { return rules.UserData(b, typ) }

// collect gathers attributes by their type; the last of a type wins.
func collect(b []byte) map[uint16][]byte {
	m := map[uint16][]byte{}
	for typ, v := range attrs(b) {
		m[typ] = v
	}
	return m
}

func be16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return number(b[:2])
}

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func be64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
