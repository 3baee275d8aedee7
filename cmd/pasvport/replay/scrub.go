// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// Scrub writes a capture again, in the pcap format, with what a bug report needs
// and without what it must not contain. It keeps the control connections and the
// TCP connections between their hosts. Addresses are replaced, in the text too,
// by others of the same kind and length; arguments of commands and words of
// replies that are not FTP's own are replaced by the letter x, and so is
// everything on data connections. Lengths, ports, numbers and times stay. It
// returns how many packets were written, of how many.
//
// It does not withstand someone who knows what to look for: sizes and times of
// transfers are still there.
func Scrub(o Options, w io.Writer) (written, all int, err error) {
	s := &scrubber{run: newRun(o, nil), hosts: map[[2]netip.Addr]bool{}, addrs: newAddresses(), macs: map[[macLen]byte]byte{}}
	s.talks = talks{byFlow: map[flow]*talk{}}
	if err := read(o.Files, make([]time.Duration, 1), s.collect); err != nil {
		return 0, 0, err
	}
	words := newWords(s.addrs)
	for _, t := range s.talks.all {
		t.scrub(words, ftpalg.Original)
	}
	for _, t := range s.talks.all { // names that clients gave are known by now
		t.scrub(words, ftpalg.Reply)
	}
	s.out = pcapgo.NewWriterNanos(w)
	s.talks.rewind()
	if err := read(o.Files, make([]time.Duration, 1), s.write); err != nil {
		return s.written, s.frames, err
	}
	return s.written, s.frames, errors.Join(s.addrs.err, s.header(layers.LinkTypeEthernet))
}

// scrubber is the state of Scrub.
type scrubber struct {
	run   *run
	talks talks
	hosts map[[2]netip.Addr]bool // that have a control connection, both ways round
	addrs *addresses
	macs  map[[macLen]byte]byte

	out             *pcapgo.Writer
	begun           bool
	link            layers.LinkType
	written, frames int
	splice, frame   []byte // reused
}

// collect collects the text of the control connections.
func (s *scrubber) collect(f *frame) error {
	if f.skip != "" {
		return nil
	}
	p := &f.tcp
	fl, original, ok := s.run.flowOf(p)
	if !ok {
		return nil
	}
	if s.run.flows[fl] == nil {
		s.run.flows[fl] = &session{}
	}
	s.hosts[[2]netip.Addr{p.Src.Addr(), p.Dst.Addr()}] = true
	s.hosts[[2]netip.Addr{p.Dst.Addr(), p.Src.Addr()}] = true
	t := s.talks.of(fl, original, p)
	t.add(direction(original), p)
	return nil
}

func direction(original bool) ftpalg.Direction {
	if original {
		return ftpalg.Original
	}
	return ftpalg.Reply
}

// write writes a frame, if it is kept.
func (s *scrubber) write(f *frame) error {
	s.frames++
	p := &f.tcp
	if f.skip != "" || !s.hosts[[2]netip.Addr{p.Src.Addr(), p.Dst.Addr()}] || hasRoute(f.data[f.ip:]) {
		return nil
	}
	payload := make([]byte, len(p.Payload))
	if fl, original, ok := s.run.flowOf(p); ok {
		s.talks.of(fl, original, p).copy(direction(original), p, payload)
	} else {
		fill(payload)
	}
	if err := s.header(f.link); err != nil {
		return err
	}
	data, err := s.rewritten(f, payload)
	if err != nil {
		return fmt.Errorf("packet %d: %w", f.number, err)
	}
	s.written++
	return s.out.WritePacket(gopacket.CaptureInfo{Timestamp: f.time, CaptureLength: len(data), Length: len(data)}, data)
}

// header writes the header of the file, before the first packet.
func (s *scrubber) header(link layers.LinkType) error {
	switch {
	case !s.begun:
		s.begun, s.link = true, link
		return s.out.WriteFileHeader(maxPacket, link)
	case s.written > 0 && s.link != link && s.frames > 0 && link != layers.LinkTypeEthernet:
		return fmt.Errorf("packets of link types %d and %d, which a pcap file cannot have both of", s.link, link)
	}
	return nil
}

// fill overwrites bytes.
func fill(b []byte) {
	for i := range b {
		b[i] = 'x'
	}
}

// rewritten returns a frame with other addresses and another payload.
func (s *scrubber) rewritten(f *frame, payload []byte) ([]byte, error) {
	s.frame = append(s.frame[:0], f.data...)
	b := s.frame
	s.hardware(f.link, b)
	ip := b[f.ip:]
	if ip[0]>>4 == 4 {
		s.address(ip[12:16])
		s.address(ip[16:20])
		for i := 20; i < int(ip[0]&0xf)*4; i++ {
			ip[i] = 1 // no operation, in place of options that may name routers
		}
	} else {
		s.address(ip[8:24])
		s.address(ip[24:40])
	}
	var p nfq.Packet
	if err := nfq.ParsePacket(&p, ip); err != nil {
		return nil, err
	}
	s.splice = append(s.splice[:0], b[:f.ip]...)
	out, err := nfq.AppendSpliced(s.splice, &p, payload)
	if err != nil {
		return nil, err
	}
	for len(out) < len(b) {
		out = append(out, 0) // padding
	}
	s.splice = out
	return out, nil
}

// address replaces an address in a header.
func (s *scrubber) address(b []byte) {
	if a, ok := netip.AddrFromSlice(b); ok {
		copy(b, s.addrs.of(a).AsSlice())
	}
}

// hardware replaces the addresses of a link layer.
func (s *scrubber) hardware(link layers.LinkType, b []byte) {
	switch link {
	case linkEthernet:
		s.mac(b[:macLen])
		s.mac(b[macLen : 2*macLen])
	case linkSLL:
		s.mac(b[6 : 6+macLen])
		clear(b[6+macLen : 14])
	case linkSLL2:
		s.mac(b[12 : 12+macLen])
		clear(b[12+macLen : 20])
	}
}

// mac replaces a hardware address, unless it is a multicast address.
func (s *scrubber) mac(b []byte) {
	key := [macLen]byte(b)
	if key[0]&1 != 0 || key == [macLen]byte{} {
		return
	}
	n, ok := s.macs[key]
	if !ok {
		n = byte(len(s.macs) + 1)
		s.macs[key] = n
	}
	copy(b, []byte{2, 0, 0, 0, 0, n}) // locally administered
}

// hasRoute reports whether an IPv6 packet has a routing header, which contains
// addresses.
func hasRoute(b []byte) bool {
	const hopByHop, routing, destination = 0, 43, 60
	if b[0]>>4 != 6 {
		return false
	}
	next, off := b[6], 40
	for next == hopByHop || next == destination {
		next, off = b[off], off+8*(int(b[off+1])+1)
	}
	return next == routing
}
