// SPDX-License-Identifier: Apache-2.0

package walk

import "encoding/binary"

// Bits of "ct status" (enum ip_conntrack_status in
// <linux/netfilter/nf_conntrack_common.h>).
const (
	statusExpected  = 1 << 0
	statusSeenReply = 1 << 1
	statusAssured   = 1 << 2
	statusConfirmed = 1 << 3
	statusSNAT      = 1 << 4
	statusDNAT      = 1 << 5
	statusSeqAdjust = 1 << 6
	statusDying     = 1 << 9
	statusTemplate  = 1 << 11
	statusOffload   = 1 << 14
	statusHWOffload = 1 << 15
)

// DependsTranslation is what a rule depends on that tests whether the connection
// is translated, if that is unknown.
const DependsTranslation = "whether it is translated"

// Conditions of an Outcome of a control connection.
const (
	OnlyTranslated   = "only if it is translated"
	OnlyUntranslated = "only if it is not translated"
)

const statusName = "ct status"

// status is the connection's status at the packet's position.
func (p *Packet) status() value {
	// A dying connection, or a template, has no packets, and an offloaded one
	// traverses no hook.
	var word, mask uint32 = 0, statusExpected | statusDying | statusTemplate | statusOffload | statusHWOffload
	set := func(bits uint32) { word, mask = word|bits, mask|bits }
	if p.Expected {
		set(statusExpected)
	}
	if p.SYN {
		mask |= statusSeenReply | statusAssured | statusSeqAdjust
	} else {
		set(statusConfirmed | statusSeenReply)
	}
	if p.SYN && !p.Expected {
		mask |= statusConfirmed
		if p.at != HookPostrouting && p.at != HookInput {
			mask |= statusSNAT // the source is translated at the end of the way
		}
		if !p.late {
			mask |= statusDNAT
		}
	}
	switch {
	case p.dnat == no:
		mask |= statusDNAT
	case p.dnat == yes && mask&statusDNAT == 0:
		set(statusDNAT)
	}
	return partly(statusName, word, mask)
}

// asked is the name of the masked part of a value, to explain why the answer is
// unknown.
func (v value) asked(mask []byte) string {
	if v.name == statusName && len(mask) == 4 && binary.NativeEndian.Uint32(mask)&^(statusSNAT|statusDNAT) == 0 {
		return DependsTranslation
	}
	return v.name
}
