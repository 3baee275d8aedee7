// SPDX-License-Identifier: Apache-2.0

package nfq

import "encoding/binary"

// TCP options, RFC 9293 section 3.1 and RFC 2018 section 3.
const (
	optionEnd  = 0
	optionNop  = 1
	optionSACK = 5
)

// Renumber replaces the sequence number of p and passes its acknowledgement
// number, where it has one, and the edges of its SACK blocks through ack. It
// changes p.Data in place, not its checksum: AppendSpliced computes that.
// p.Seq and p.Ack follow.
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

// sackEdges returns the edges of the SACK blocks among TCP options, none if
// there is no such option or the options are broken.
func sackEdges(options []byte) []byte {
	for len(options) > 0 {
		switch options[0] {
		case optionEnd:
			return nil
		case optionNop:
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return nil
		}
		n := int(options[1])
		if options[0] == optionSACK {
			return options[2:n]
		}
		options = options[n:]
	}
	return nil
}

// ClearFIN takes the FIN off p, because the end of its payload does not go
// on. As Renumber, it leaves the checksum to AppendSpliced.
func ClearFIN(p *Packet) {
	p.Flags &^= FlagFIN
	p.Data[p.tcp+13] &^= FlagFIN
}

// SetUrgent replaces the urgent pointer of p. As Renumber, it leaves the
// checksum to AppendSpliced.
func SetUrgent(p *Packet, urgent uint16) {
	p.Urgent = urgent
	binary.BigEndian.PutUint16(p.Data[p.tcp+18:], urgent)
}
