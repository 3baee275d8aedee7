// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"time"

	"golang.org/x/sys/unix"
)

// Status is the set of status bits of a conntrack entry.
type Status uint32

// The status bits that a gateway needs, from enum ip_conntrack_status in
// include/uapi/linux/netfilter/nf_conntrack_common.h.
const (
	StatusExpected  Status = 1 << 0  // the entry is a child: an expectation or a claim made it
	StatusSeenReply Status = 1 << 1  // packets went both ways
	StatusAssured   Status = 1 << 2  // never dropped early
	StatusConfirmed Status = 1 << 3  // in the table
	StatusSrcNAT    Status = 1 << 4  // the original direction's source is translated
	StatusDstNAT    Status = 1 << 5  // the original direction's destination is translated
	StatusSeqAdjust Status = 1 << 6  // sequence numbers are adjusted
	StatusDying     Status = 1 << 9  // removed from the table
	StatusHelper    Status = 1 << 13 // it was given a helper explicitly
	StatusOffload   Status = 1 << 14 // in a flow table: its packets pass no hook
)

// States of a tracked TCP connection, from enum tcp_conntrack in
// include/uapi/linux/netfilter/nf_conntrack_tcp.h.
const (
	TCPStateNone        uint8 = 0 // no packet seen: a claim that waits for its SYN
	TCPStateSynSent     uint8 = 1
	TCPStateSynRecv     uint8 = 2
	TCPStateEstablished uint8 = 3
	TCPStateFinWait     uint8 = 4
	TCPStateCloseWait   uint8 = 5
	TCPStateLastAck     uint8 = 6
	TCPStateTimeWait    uint8 = 7
	TCPStateClose       uint8 = 8
	TCPStateSynSent2    uint8 = 9
)

// SeqAdj is the sequence adjustment of one direction. From the sequence number
// Pos on (in the sender's numbers) the kernel adds After to the sequence numbers,
// before it Before; and subtracts the same from the acknowledgements of the other
// direction. The values are absolute, not relative to an earlier adjustment.
type SeqAdj struct {
	Pos           uint32
	Before, After int32 // bytes
}

// Entry is a conntrack entry. Without NAT, Reply is the reverse of Original. The
// zones of the two differ if a rule sets that of one direction only.
type Entry struct {
	Original, Reply Tuple
	Master          Tuple  // original tuple of the control connection; zero unless StatusExpected
	Status          Status // zero in events without it
	Mark            uint32
	ID              uint32 // constant for the lifetime of the entry
	Timeout         time.Duration
	Helper          string // "sane", "ftp", ...; empty: none, or a bare help extension
	TCPState        uint8  // TCPStateEstablished, ...
	Liberal         bool   // windows are not checked, for instance of a connection picked up midstream
	Adj             [2]SeqAdj
	Bytes, Packets  [2]uint64 // by Direction; only if HasCounters
	HasCounters     bool      // net.netfilter.nf_conntrack_acct was on when the entry was created
}

// Attributes of a conntrack entry: enum ctattr_type and those nested in it, in
// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaProtoinfo     = 4
	ctaHelp          = 5
	ctaNatSrc        = 6
	ctaTimeout       = 7
	ctaMark          = 8
	ctaCountersOrig  = 9
	ctaCountersReply = 10
	ctaID            = 12
	ctaNatDst        = 13
	ctaTupleMaster   = 14
	ctaSeqAdjOrig    = 15
	ctaSeqAdjReply   = 16
	ctaZone          = 18
	ctaMarkMask      = 21

	ctaProtoinfoTCP      = 1 // enum ctattr_protoinfo
	ctaProtoinfoTCPState = 1 // enum ctattr_protoinfo_tcp

	ctaHelpName = 1 // enum ctattr_help

	ctaCountersPackets = 1 // enum ctattr_counters
	ctaCountersBytes   = 2

	ctaSeqAdjCorrectionPos = 1 // enum ctattr_seqadj
	ctaSeqAdjOffsetBefore  = 2
	ctaSeqAdjOffsetAfter   = 3
)

// parseEntry decodes the attributes of a conntrack message (all after struct
// nfgenmsg) into e. It returns false for protocols other than TCP. Strings apart,
// e keeps nothing of b.
func parseEntry(e *Entry, b []byte) (tcp bool, err error) {
	*e = Entry{}
	var zone uint16 // of both directions
	a := attrs{rest: b}
	for a.next() {
		switch a.typ {
		case ctaTupleOrig:
			tcp = a.tuple(&e.Original) == unix.IPPROTO_TCP
		case ctaTupleReply:
			a.tuple(&e.Reply)
		case ctaTupleMaster:
			a.tuple(&e.Master)
		case ctaStatus:
			e.Status = Status(a.u32())
		case ctaProtoinfo:
			e.TCPState, e.Liberal = a.tcpInfo()
		case ctaHelp:
			e.Helper = a.helper()
		case ctaTimeout:
			e.Timeout = time.Duration(a.u32()) * time.Second
		case ctaMark:
			e.Mark = a.u32()
		case ctaID:
			e.ID = a.u32()
		case ctaZone:
			zone = a.u16()
		case ctaCountersOrig, ctaCountersReply:
			d := Direction(a.typ - ctaCountersOrig)
			e.Packets[d], e.Bytes[d] = a.counters()
			e.HasCounters = true
		case ctaSeqAdjOrig, ctaSeqAdjReply:
			e.Adj[a.typ-ctaSeqAdjOrig] = a.seqAdj()
		}
	}
	if a.bad {
		return false, errMalformed
	}
	e.setZone(zone)
	return tcp, nil
}

// setZone gives the tuples the zone of the entry. The kernel reports it once if
// it is that of both directions, and otherwise with its tuple.
func (e *Entry) setZone(zone uint16) {
	if zone != 0 {
		e.Original.Zone, e.Reply.Zone = zone, zone
	}
	if e.Master != (Tuple{}) {
		e.Master.Zone = e.Original.Zone
	}
}

// tcpInfo returns the state, and whether both ends are liberal.
func (a *attrs) tcpInfo() (state uint8, liberal bool) {
	ends := 0
	info := attrs{rest: a.val}
	for info.next() {
		if info.typ != ctaProtoinfoTCP {
			continue
		}
		in := attrs{rest: info.val}
		for in.next() {
			switch in.typ {
			case ctaProtoinfoTCPState:
				state = in.u8()
			case ctaProtoinfoTCPFlagsOriginal, ctaProtoinfoTCPFlagsReply:
				if len(in.val) > 0 && in.val[0]&tcpFlagBeLiberal != 0 { // struct nf_ct_tcp_flags
					ends++
				}
			}
		}
		info.bad = info.bad || in.bad
	}
	a.bad = a.bad || info.bad
	return state, ends == 2
}

func (a *attrs) helper() (name string) {
	in := attrs{rest: a.val}
	for in.next() {
		if in.typ == ctaHelpName {
			name = in.name()
		}
	}
	a.bad = a.bad || in.bad
	return name
}

func (a *attrs) counters() (packets, bytes uint64) {
	in := attrs{rest: a.val}
	for in.next() {
		switch in.typ {
		case ctaCountersPackets:
			packets = in.u64()
		case ctaCountersBytes:
			bytes = in.u64()
		}
	}
	a.bad = a.bad || in.bad
	return packets, bytes
}

func (a *attrs) seqAdj() (s SeqAdj) {
	in := attrs{rest: a.val}
	for in.next() {
		switch in.typ {
		case ctaSeqAdjCorrectionPos:
			s.Pos = in.u32()
		case ctaSeqAdjOffsetBefore:
			s.Before = int32(in.u32())
		case ctaSeqAdjOffsetAfter:
			s.After = int32(in.u32())
		}
	}
	a.bad = a.bad || in.bad
	return s
}
