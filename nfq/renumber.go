// SPDX-License-Identifier: Apache-2.0

package nfq

import "encoding/binary"

// TCP options, RFC 9293 section 3.1, RFC 2018 section 3 and RFC 7323 section 3.2.
const (
	optionEnd        = 0
	optionNop        = 1
	optionSACK       = 5
	optionTimestamps = 8

	timestampsLen = 10
)

// Renumber replaces the sequence number of p and passes its acknowledgement
// number, if it has one, and the edges of its SACK blocks through ack. It changes
// p.Data in place, but not its checksum: AppendSpliced computes that. It updates
// p.Seq and p.Ack.
func Renumber(p *Packet, seq uint32, ack func(uint32) uint32) {
	h := p.Data[p.tcp:p.payload]
	p.Seq = seq
	binary.BigEndian.PutUint32(h[4:], seq)
	if p.Flags&FlagACK == 0 {
		return
	}
	p.Ack = ack(p.Ack)
	binary.BigEndian.PutUint32(h[8:], p.Ack)
	for edges := sackEdges(h[tcpHeaderLen:]); len(edges) >= 4; edges = edges[4:] {
		binary.BigEndian.PutUint32(edges, ack(binary.BigEndian.Uint32(edges)))
	}
}

// sackEdges returns the edges of the SACK blocks among TCP options, or nil if
// there is no such option or the options are malformed.
func sackEdges(options []byte) []byte {
	if o := findOption(options, optionSACK); o != nil {
		return o[2:]
	}
	return nil
}

// Timestamps returns the timestamps option (RFC 7323), kind and length included,
// or nil. It is a slice of p.Data.
func (p *Packet) Timestamps() []byte {
	if o := findOption(p.Options(), optionTimestamps); len(o) == timestampsLen {
		return o
	}
	return nil
}

// findOption returns an option, kind and length included, or nil if there is none
// before the end of the list or a malformed option.
func findOption(options []byte, kind byte) []byte {
	for len(options) > 0 && options[0] != optionEnd {
		if options[0] == optionNop {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return nil
		}
		n := int(options[1])
		if options[0] == kind {
			return options[:n]
		}
		options = options[n:]
	}
	return nil
}

// ClearFIN clears the FIN of p, because the end of its payload is not forwarded.
// Like Renumber, it leaves the checksum to AppendSpliced.
func ClearFIN(p *Packet) {
	p.Flags &^= FlagFIN
	p.Data[p.tcp+13] &^= FlagFIN
}

// SetUrgent replaces the urgent pointer of p. Like Renumber, it leaves the
// checksum to AppendSpliced.
func SetUrgent(p *Packet, urgent uint16) {
	p.Urgent = urgent
	binary.BigEndian.PutUint16(p.Data[p.tcp+18:], urgent)
}
