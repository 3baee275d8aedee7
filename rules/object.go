// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Attributes of <linux/netfilter/nf_tables.h> that x/sys/unix lacks.
const (
	nftaObjTable = 1
	nftaObjName  = 2
	nftaObjType  = 3
	nftaObjData  = 4

	nftaCtExpectL3Proto = 1
	nftaCtExpectL4Proto = 2
	nftaCtExpectDport   = 3
	nftaCtExpectTimeout = 4
	nftaCtExpectSize    = 5
)

// An object is a carrier for one family of packets.
type object struct {
	carrier Carrier
	name    string
	ip      Family
	there   bool
}

// carriers are the objects that give a connection its carrier: the kernel needs
// one per family.
func carriers(c Carrier) []object {
	name := ""
	switch c {
	case CarrierSane:
		name = "sane"
	case CarrierBare:
		name = "bare"
	default:
		return nil
	}
	return []object{{carrier: c, name: name + "4", ip: FamilyIPv4}, {carrier: c, name: name + "6", ip: FamilyIPv6}}
}

// carrierRules give a connection its carrier.
func carrierRules(c Config) (list []rule) {
	for _, o := range carriers(c.Carrier) {
		set := setHelper(o.name)
		if c.Carrier == CarrierBare {
			set = setExpectation(o.name)
		}
		// meta nfproto ipv4 counter ct helper set "sane4"
		list = append(list, newRule(nfproto(o.ip), counter(), set))
	}
	return list
}

// number is the kernel's type of o.
func (o object) number() uint32 {
	if o.carrier == CarrierBare {
		return unix.NFT_OBJECT_CT_EXPECT
	}
	return unix.NFT_OBJECT_CT_HELPER
}

// kind is nft's word for the type of o.
func (o object) kind() string {
	if o.carrier == CarrierBare {
		return "expectation"
	}
	return "helper"
}

// properties are the lines of o within braces.
func (o object) properties() []string {
	if o.carrier == CarrierBare {
		return []string{"protocol tcp", "dport 1", "timeout 1s", "size 0", "l3proto " + o.ip.String()}
	}
	return []string{`type "sane" protocol tcp`, "l3proto " + o.ip.String()}
}

func appendObjectData(b []byte, o object) []byte {
	if o.carrier != CarrierBare {
		b = appendString(b, unix.NFTA_CT_HELPER_NAME, "sane")
		b = appendUint16(b, unix.NFTA_CT_HELPER_L3PROTO, uint16(o.ip))
		return appendUint8(b, unix.NFTA_CT_HELPER_L4PROTO, unix.IPPROTO_TCP)
	}
	// Size 0: the object adds the help extension and then makes no expectation,
	// so its port and timeout never matter.
	b = appendUint16(b, nftaCtExpectL3Proto, uint16(o.ip))
	b = appendUint8(b, nftaCtExpectL4Proto, unix.IPPROTO_TCP)
	b = appendUint16(b, nftaCtExpectDport, 1)
	// Milliseconds in host order (nft_ct_expect_obj_init).
	b = appendAttr(b, nftaCtExpectTimeout, binary.NativeEndian.AppendUint32(nil, 1000))
	return appendUint8(b, nftaCtExpectSize, 0)
}
