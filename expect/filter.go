// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// Offsets of classic BPF, from include/uapi/linux/filter.h.
const (
	skfAdOff    = 0xfffff000 // SKF_AD_OFF
	skfAdNlattr = 12         // SKF_AD_NLATTR: A = offset of attribute X, sought from offset A on; 0: none
	// SKF_AD_NLATTR_NEST: the same inside of the attribute at offset A.
	skfAdNlattrNest = 16
)

// eventFilter is a socket filter that passes the events of two kinds of entries:
// those whose original direction goes to one of ports, and expected ones. It drops
// changes to a TCP state that are of no use: a data connection has seven events, and
// three of them matter.
//
//	    ld  #20                  ; after struct nlmsghdr and nfgenmsg
//	    ldx #CTA_STATUS
//	    ld  nlattr
//	    jeq #0, port
//	    tax
//	    ld  [x + 4]              ; its value, in network order
//	    jset #IPS_EXPECTED, ours
//	port:
//	    ld  #20
//	    ldx #CTA_TUPLE_ORIG
//	    ld  nlattr
//	    jeq #0, drop
//	    ldx #CTA_TUPLE_PROTO
//	    ld  nlattr_nest
//	    jeq #0, drop
//	    ldx #CTA_PROTO_DST_PORT
//	    ld  nlattr_nest
//	    jeq #0, drop
//	    tax
//	    ldh [x + 4]
//	    jlt #low, next           ; these three for each range
//	    jgt #high, next
//	    ja  ours
//	    ja  drop
//	ours:
//	    ldh [6]                  ; flags: an entry is new
//	    jne #0, pass
//	    ldh [4]                  ; type: it is gone
//	    jne #IPCTNL_MSG_CT_NEW, pass
//	    ld  #20
//	    ldx #CTA_PROTOINFO
//	    ld  nlattr
//	    jeq #0, pass
//	    ldx #CTA_PROTOINFO_TCP
//	    ld  nlattr_nest
//	    jeq #0, pass
//	    ldx #CTA_PROTOINFO_TCP_STATE
//	    ld  nlattr_nest
//	    jeq #0, pass
//	    tax
//	    ldb [x + 4]
//	    jeq #TCP_CONNTRACK_ESTABLISHED, drop
//	    jeq #TCP_CONNTRACK_CLOSE_WAIT, drop
//	    jeq #TCP_CONNTRACK_LAST_ACK, drop
//	    jne #TCP_CONNTRACK_FIN_WAIT, pass
//	    ld  #20
//	    ldx #CTA_STATUS
//	    ld  nlattr
//	    jeq #0, pass
//	    tax
//	    ld  [x + 4]
//	    jset #IPS_EXPECTED, drop
//	pass: ret #-1
//	drop: ret #0
//
// Tuples and status are in every event (ctnetlink_conntrack_event). The master
// is not, which is why the status says what was expected.
func eventFilter(ports []PortRange) []unix.SockFilter {
	var f filter
	f.attribute(ctaStatus, "port")
	f.value(unix.BPF_W)
	f.jump(unix.BPF_JSET, uint32(StatusExpected), "ours", "")
	f.label("port")
	f.attribute(ctaTupleOrig, "drop")
	f.nested(ctaTupleProto, "drop")
	f.nested(ctaProtoDstPort, "drop")
	f.value(unix.BPF_H)
	if len(ports) > maxFilterRanges {
		ports = []PortRange{{0, math.MaxUint16}}
	}
	for _, r := range ports {
		f.add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, uint32(r.Low), 0, 2)
		f.add(unix.BPF_JMP|unix.BPF_JGT|unix.BPF_K, uint32(r.High), 1, 0)
		f.always("ours")
	}
	f.always("drop")
	f.label("ours")
	newEntry := uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, ctNew)))
	f.add(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS, 6, 0, 0)
	f.jump(unix.BPF_JEQ, 0, "", "pass")
	f.add(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS, 4, 0, 0)
	f.jump(unix.BPF_JEQ, newEntry, "", "pass")
	f.attribute(ctaProtoinfo, "pass")
	f.nested(ctaProtoinfoTCP, "pass")
	f.nested(ctaProtoinfoTCPState, "pass")
	f.value(unix.BPF_B)
	f.jump(unix.BPF_JEQ, uint32(TCPStateEstablished), "drop", "")
	f.jump(unix.BPF_JEQ, uint32(TCPStateCloseWait), "drop", "")
	f.jump(unix.BPF_JEQ, uint32(TCPStateLastAck), "drop", "")
	f.jump(unix.BPF_JEQ, uint32(TCPStateFinWait), "", "pass")
	f.attribute(ctaStatus, "pass")
	f.value(unix.BPF_W)
	f.jump(unix.BPF_JSET, uint32(StatusExpected), "drop", "")
	f.label("pass")
	f.add(unix.BPF_RET|unix.BPF_K, math.MaxUint32, 0, 0)
	f.label("drop")
	f.add(unix.BPF_RET|unix.BPF_K, 0, 0, 0)
	return f.assemble()
}

// maxFilterRanges keeps a filter under the kernel's limit of 4096 instructions
// (BPF_MAXINSNS). With more ranges than that the events of all ports pass.
const maxFilterRanges = 1000

// filter is a classic BPF program in the making, with labels.
type filter struct {
	prog   []unix.SockFilter
	labels map[string]int
	jumps  []jump
}

// jump is an unconditional jump to a label that may not be known yet.
type jump struct {
	at int
	to string
}

func (f *filter) add(code uint16, k uint32, jt, jf uint8) {
	f.prog = append(f.prog, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (f *filter) label(name string) {
	if f.labels == nil {
		f.labels = map[string]int{}
	}
	f.labels[name] = len(f.prog)
}

// jump compares the accumulator with k; one of the labels is empty, which is the
// next instruction. The other may be further away than a conditional jump can
// go, so an unconditional one follows.
func (f *filter) jump(op uint16, k uint32, ifTrue, otherwise string) {
	jt, jf := uint8(0), uint8(1)
	to := ifTrue
	if ifTrue == "" {
		jt, jf, to = 1, 0, otherwise
	}
	f.add(unix.BPF_JMP|op|unix.BPF_K, k, jt, jf)
	f.always(to)
}

// always jumps to a label.
func (f *filter) always(to string) {
	f.jumps = append(f.jumps, jump{len(f.prog), to})
	f.add(unix.BPF_JMP|unix.BPF_JA, 0, 0, 0)
}

// attribute makes the accumulator the offset of an attribute of the message.
func (f *filter) attribute(typ uint32, without string) {
	f.add(unix.BPF_LD|unix.BPF_IMM, nlmsgHeaderLen+nfgenLen, 0, 0)
	f.seek(typ, skfAdNlattr, without)
}

// nested does so for an attribute within that at the accumulator's offset.
func (f *filter) nested(typ uint32, without string) { f.seek(typ, skfAdNlattrNest, without) }

func (f *filter) seek(typ, how uint32, without string) {
	f.add(unix.BPF_LDX|unix.BPF_IMM, typ, 0, 0)
	f.add(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS, skfAdOff+how, 0, 0)
	f.jump(unix.BPF_JEQ, 0, without, "")
}

// value loads the value of the attribute at the accumulator's offset.
func (f *filter) value(size uint16) {
	f.add(unix.BPF_MISC|unix.BPF_TAX, 0, 0, 0)
	f.add(unix.BPF_LD|size|unix.BPF_IND, attrHeaderLen, 0, 0)
}

// assemble resolves the jumps.
func (f *filter) assemble() []unix.SockFilter {
	for _, j := range f.jumps {
		f.prog[j.at].K = uint32(f.labels[j.to] - j.at - 1)
	}
	return f.prog
}

func attachFilter(fd int, prog []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}
