// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/pasvport/pasvport/nfq"
)

// A frame is one packet of a capture.
type frame struct {
	file   int // which capture
	number int // from 1, like other programs
	time   time.Time
	link   layers.LinkType
	data   []byte
	length int // on the wire
	ip     int // offset of the IP header in data

	tcp  nfq.Packet // if skip is empty
	skip string     // why there is no TCP segment
}

// reader reads either format of captures.
type reader interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// capture is an open file.
type capture struct {
	name  string
	index int
	f     *os.File
	r     reader
	link  func(*gopacket.CaptureInfo) layers.LinkType
	count int
}

// maxPacket is the longest packet that is read, MAXIMUM_SNAPLEN of libpcap.
const maxPacket = 1 << 18

// pcapngMagic is the type of the first block of a pcapng file.
var pcapngMagic = []byte{0x0a, 0x0d, 0x0d, 0x0a}

// openCapture opens a pcap or pcapng file.
func openCapture(name string, index int) (*capture, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	c := &capture{name: name, index: index, f: f}
	if err := c.start(bufio.NewReader(f)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: not a capture that can be read: %w", name, err), f.Close())
	}
	return c, nil
}

func (c *capture) start(b *bufio.Reader) error {
	magic, err := b.Peek(len(pcapngMagic))
	if err != nil {
		return noEOF(err)
	}
	if bytes.Equal(magic, pcapngMagic) {
		r, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		if err != nil {
			return noEOF(err)
		}
		c.r = r
		c.link = func(ci *gopacket.CaptureInfo) layers.LinkType {
			if len(ci.AncillaryData) > 0 {
				if link, ok := ci.AncillaryData[0].(layers.LinkType); ok {
					return link
				}
			}
			return r.LinkType()
		}
		return nil
	}
	r, err := pcapgo.NewReader(b)
	if err != nil {
		return noEOF(err)
	}
	r.SetSnaplen(maxPacket) // some writers declare one that their packets exceed, others none
	c.r = r
	c.link = func(*gopacket.CaptureInfo) layers.LinkType { return r.LinkType() }
	return nil
}

// noEOF makes a premature end of a file an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads a frame into f; io.EOF after the last one. A file that ends within a
// packet, as that of an interrupted capture, ends before it.
func (c *capture) next(f *frame) error {
	data, ci, err := c.r.ReadPacketData()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return fmt.Errorf("%s: packet %d: %w", c.name, c.count+1, err)
	}
	c.count++
	*f = frame{file: c.index, number: c.count, time: ci.Timestamp, link: c.link(&ci), data: data, length: ci.Length}
	f.decode()
	return nil
}

func (c *capture) close() error { return c.f.Close() }

// decode finds the TCP segment in a frame.
func (f *frame) decode() {
	if f.ip, f.skip = network(f.link, f.data); f.skip != "" {
		return
	}
	if err := nfq.ParsePacket(&f.tcp, f.data[f.ip:]); err != nil {
		f.skip = err.Error()
		if f.length > len(f.data) {
			f.skip = "cut off by the capture's snapshot length"
		}
	}
}
