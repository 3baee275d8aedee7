// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/nfq"
)

// film is a capture made for a test.
type film struct {
	t      *testing.T
	frames [][]byte
	times  []time.Time
	now    time.Time
	link   func(ip []byte) []byte
	kind   layers.LinkType
}

func newFilm(t *testing.T) *film {
	f := &film{t: t, now: time.Unix(1700000000, 0)}
	f.ethernet()
	return f
}

func (f *film) ethernet(tags ...uint16) {
	f.kind = layers.LinkTypeEthernet
	f.link = func(ip []byte) []byte {
		b := []byte{0xaa, 1, 2, 3, 4, 5, 0xaa, 9, 8, 7, 6, 5}
		for _, vlan := range tags {
			b = binary.BigEndian.AppendUint16(append(b, 0x81, 0), vlan)
		}
		b = append(binary.BigEndian.AppendUint16(b, etherType(ip)), ip...)
		for len(b) < 60 {
			b = append(b, 0) // as on the wire
		}
		return b
	}
}

func etherType(ip []byte) uint16 {
	if ip[0]>>4 == 6 {
		return typeIPv6
	}
	return typeIPv4
}

func (f *film) put(b []byte) {
	f.now = f.now.Add(time.Millisecond)
	f.frames, f.times = append(f.frames, b), append(f.times, f.now)
}

// wire is a TCP connection that is captured.
type wire struct {
	f    *film
	ends [2]netip.AddrPort
	seq  [2]uint32
	mute bool // packets are not captured
	ttl  byte
}

func (f *film) connection(client, server string) *wire {
	return &wire{f: f, ends: [2]netip.AddrPort{netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)}, seq: [2]uint32{1000, 0xfffffff0}}
}

// send sends from end d.
func (w *wire) send(d int, flags uint8, text string) {
	p := packet(w.ends[d], w.ends[1-d], w.seq[d], w.seq[1-d], flags, text)
	if w.ttl > 0 {
		p[8] = w.ttl
	}
	if !w.mute {
		w.f.put(w.f.link(p))
	}
	w.seq[d] += uint32(len(text))
	if flags&(nfq.FlagSYN|nfq.FlagFIN) != 0 {
		w.seq[d]++
	}
}

func packet(src, dst netip.AddrPort, seq, ack uint32, flags uint8, text string) []byte {
	s := nfq.Segment{Src: src, Dst: dst, Seq: seq, Ack: ack, Flags: flags, Window: 1000}
	if flags&nfq.FlagACK == 0 {
		s.Ack = 0
	}
	var p nfq.Packet
	if err := nfq.ParsePacket(&p, nfq.AppendSegment(nil, &s)); err != nil {
		panic(err)
	}
	b, err := nfq.AppendSpliced(nil, &p, []byte(text))
	if err != nil {
		panic(err)
	}
	return b
}

func (w *wire) open() {
	w.send(0, nfq.FlagSYN, "")
	w.send(1, nfq.FlagSYN|nfq.FlagACK, "")
	w.send(0, nfq.FlagACK, "")
}

// lines sends each line, with "C: " or "S: " for its end.
func (w *wire) lines(text string) {
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "C: "):
			w.send(0, nfq.FlagACK|nfq.FlagPSH, line[3:]+"\r\n")
		case strings.HasPrefix(line, "S: "):
			w.send(1, nfq.FlagACK|nfq.FlagPSH, line[3:]+"\r\n")
		}
	}
}

// pcap writes the film as a pcap file.
func (f *film) pcap() string { return f.write("film.pcap", f.bytes()) }

func (f *film) bytes() []byte {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<16, f.kind); err != nil {
		panic(err)
	}
	for i, frame := range f.frames {
		ci := gopacket.CaptureInfo{Timestamp: f.times[i], CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(ci, frame); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

// pcapng writes it as a pcapng file.
func (f *film) pcapng() string {
	f.t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, f.kind)
	if err != nil {
		f.t.Fatal(err)
	}
	for i, frame := range f.frames {
		ci := gopacket.CaptureInfo{Timestamp: f.times[i], CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(ci, frame); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		f.t.Fatal(err)
	}
	return f.write("film.pcapng", b.Bytes())
}

func (f *film) write(name string, b []byte) string {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// replayed is the output of a capture, without the times.
func replayed(t *testing.T, o Options) string {
	t.Helper()
	if len(o.Config.Ports) == 0 {
		o.Config = config.Default()
	}
	var b strings.Builder
	err := Run(o, func(r *Record) error {
		r.Time = 0
		var line bytes.Buffer
		if err := r.WriteText(&line); err != nil {
			return err
		}
		b.WriteString(strings.TrimSpace(strings.Replace(line.String(), "   0.000000 ", "", 1)) + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const dialogue = `
	S: 220 ready
	C: USER alice
	S: 331 Password required for alice.
	C: PASS secret1
	S: 230 User alice logged in.
	C: PASV
	S: 227 Entering Passive Mode (203,0,113,9,19,137).
`

// Every link type and both formats give the same output.
func TestLinks(t *testing.T) {
	const want = "227 Entering Passive Mode (203,0,113,9,19,137).\n" +
		"10  #1    offer: offered, passive 227 announces 203.0.113.9:5001: 192.168.1.5 may connect to 203.0.113.9:5001\n" +
		"10  #1    forward: plain\n"
	cooked := func(ip []byte) []byte {
		b := append(make([]byte, 14), 0, 0)
		binary.BigEndian.PutUint16(b[14:], etherType(ip))
		return append(b, ip...)
	}
	cooked2 := func(ip []byte) []byte {
		b := make([]byte, 20)
		binary.BigEndian.PutUint16(b, etherType(ip))
		return append(b, ip...)
	}
	bare := func(ip []byte) []byte { return ip }
	for _, tt := range []struct {
		name string
		kind layers.LinkType
		link func([]byte) []byte
	}{
		{name: "ethernet"},
		{"cooked", linkSLL, cooked},
		{"cooked 2", linkSLL2, cooked2},
		{"PPPoE", linkEthernet, func(ip []byte) []byte {
			return append(append(make([]byte, 12), 0x88, 0x64, 0x11, 0, 0, 1, 0, 0, 0, 0x21), ip...)
		}},
		{"raw", linkRaw, bare},
		{"raw of BSD", linkRawBSD, bare},
		{"null", linkNull, func(ip []byte) []byte { return append([]byte{2, 0, 0, 0}, ip...) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFilm(t)
			if tt.link != nil {
				f.kind, f.link = tt.kind, tt.link
			}
			w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
			w.open()
			w.lines(dialogue)
			for _, name := range []string{f.pcap(), f.pcapng()} {
				if got := replayed(t, Options{Files: []string{name}}); !strings.Contains(got, want) {
					t.Errorf("%s:\n%s\nwant in it\n%s", filepath.Base(name), got, want)
				}
			}
		})
	}
	for _, tags := range [][]uint16{{7 << 1}, {3, 4}} {
		f := newFilm(t)
		f.link = vlans(tags)
		w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
		w.open()
		w.lines(dialogue)
		if got := replayed(t, Options{Files: []string{f.pcap()}}); !strings.Contains(got, want) {
			t.Errorf("tags %d:\n%s", tags, got)
		}
	}
}

// vlans is Ethernet with tags.
func vlans(tags []uint16) func([]byte) []byte {
	return func(ip []byte) []byte {
		b := make([]byte, 12)
		for i, tag := range tags {
			kind := uint16(typeVLAN)
			if i == 0 && len(tags) > 1 {
				kind = typeQinQ
			}
			b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, kind), tag)
		}
		return append(binary.BigEndian.AppendUint16(b, etherType(ip)), ip...)
	}
}

// What cannot be read is reported, with the packets' numbers.
func TestSkipped(t *testing.T) {
	f := newFilm(t)
	w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
	w.open()
	whole := packet(w.ends[0], w.ends[1], 5, 5, nfq.FlagACK, "USER x\r\n")
	fragment := bytes.Clone(whole)
	fragment[6] = 0x20
	f.put(f.link(fragment))
	v6 := packet(netip.MustParseAddrPort("[fd00::1]:4000"), netip.MustParseAddrPort("[fd00::2]:21"), 5, 5, nfq.FlagACK, "USER x\r\n")
	v6[6] = 44
	f.put(f.link(v6))
	udp := bytes.Clone(whole)
	udp[9] = 17
	f.put(f.link(udp))
	f.put(append(make([]byte, 12), 8, 6, 1, 2, 3, 4)) // ARP
	f.put([]byte{1, 2, 3})
	f.put(append(make([]byte, 12), 0x88, 0x64, 0x11))
	f.put(append(make([]byte, 12), 0x81, 0, 1))
	f.put(f.link(whole)[:50]) // cut off
	got := replayed(t, Options{Files: []string{f.pcap()}})
	for _, want := range []string{
		"skipped 2 packets: fragment, 4, 5\n",
		"skipped 1 packets: not TCP, 6\n",
		"skipped 1 packets: not IP, 7\n",
		"skipped 3 packets: shorter than its link layer's header, 8, 9, 10\n",
		"skipped 1 packets: packet shorter than its headers say, 11\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// A file that is not a capture is an error; a truncated one is read as far as
// possible.
func TestBrokenFiles(t *testing.T) {
	f := newFilm(t)
	w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
	w.open()
	w.lines(dialogue)
	b, err := os.ReadFile(f.pcap())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "broken")
	for _, tt := range []struct {
		name string
		text []byte
		err  bool
	}{
		{"empty", nil, true},
		{"text", []byte("this is no capture at all, just a line\n"), true},
		{"head alone", b[:24], false},
		{"within a packet's head", b[:len(b)-120], false},
		{"within a packet", b[:len(b)-5], false},
		{"pcapng head", []byte{0x0a, 0x0d, 0x0d, 0x0a}, true},
	} {
		if err := os.WriteFile(path, tt.text, 0o600); err != nil {
			t.Fatal(err)
		}
		err := Run(Options{Files: []string{path}, Config: config.Default()}, func(*Record) error { return nil })
		if (err != nil) != tt.err {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
	if err := Run(Options{Files: []string{"/no/such"}, Config: config.Default()}, nil); err == nil {
		t.Error("a file that is not there is read")
	}
}
