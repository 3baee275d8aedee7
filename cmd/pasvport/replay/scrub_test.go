// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// scrubbed writes a film again and returns the file.
func scrubbed(t *testing.T, name string) (path string, written, all int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "scrubbed.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written, all, err = Scrub(Options{Files: []string{name}, Config: config.Default()}, f)
	if err != nil {
		t.Fatal(err)
	}
	return path, written, all
}

// verdicts are an output's decisions, without lines, addresses and packet
// numbers.
func verdicts(t *testing.T, name string) (list []string) {
	t.Helper()
	err := Run(Options{Files: []string{name}, Config: config.Default()}, func(r *Record) error {
		if r.Kind != KindLine && r.Kind != KindSkipped {
			list = append(list, strings.Join([]string{string(r.Kind), r.From, r.Action, r.Reason}, " "))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestScrub: no personal data remains, and the engine decides as before.
func TestScrub(t *testing.T) {
	f := newFilm(t)
	w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
	w.open()
	w.lines(`
		S: 220 files.corp.example FTP server ready, your address is 192.168.1.5.
		C: USER alice
		S: 331 Password required for alice.
		C: PASS secret-word
		S: 230 User alice logged in.
		C: CWD /srv/Projects/Falcon
		S: 250 Directory changed to /srv/Projects/Falcon
		C: PASV
		S: 227 Entering Passive Mode (203,0,113,9,19,137).
		C: EPRT |1|192.168.1.5|40003|
		S: 200 EPRT command successful.
		C: STOR holiday.jpg
		S: 150 Opening BINARY mode data connection for holiday.jpg (12345 bytes)
		S: 226 Transfer complete.
		C: PORT 192,168,1,5,156,66
		S: 200 PORT command successful.
		C: hunter2
		S: 500 hunter2: command not understood.
	`)
	// A line in pieces, one of them twice.
	w.send(0, nfq.FlagACK, "RETR hol")
	w.seq[0] -= 3
	w.send(0, nfq.FlagACK, "holiday")
	w.send(0, nfq.FlagACK, ".jpg\r\n")
	d := f.connection("192.168.1.5:40003", "203.0.113.9:5001")
	d.open()
	d.send(0, nfq.FlagACK|nfq.FlagPSH, "contents of the holiday")
	other := f.connection("192.168.1.5:40004", "203.0.113.99:80")
	other.open()
	other.send(0, nfq.FlagACK, "GET /private")
	name := f.pcap()
	path, written, all := scrubbed(t, name)
	if all != len(f.frames) || written != all-4 {
		t.Errorf("%d of %d packets, want all of %d but 4", written, all, len(f.frames))
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{
		"alice", "secret", "Falcon", "Projects", "srv", "holiday", "jpg", "hol", "corp", "files.", "hunter2", "contents",
		"private", "192.168.1.5", "192,168,1,5", "203,0,113,9", "203.0.113",
		string([]byte{192, 168, 1, 5}), string([]byte{203, 0, 113, 9}), string([]byte{0xaa, 1, 2, 3, 4, 5}), string([]byte{0xaa, 9, 8, 7, 6, 5}),
	} {
		if bytes.Contains(got, []byte(secret)) {
			t.Errorf("%q is still there", secret)
		}
	}
	for _, kept := range []string{"Entering Passive Mode (", "STOR xxxxxxx.xxx", "Password required for xxxxx.", "(12345 bytes)", ",156,66\r\n", "|40003|", "220 "} {
		if !bytes.Contains(got, []byte(kept)) {
			t.Errorf("no %q any more", kept)
		}
	}
	if d := cmp.Diff(verdicts(t, name), verdicts(t, path)); d != "" {
		t.Errorf("the engine's decisions (-before +after):\n%s", d)
	}
	sums(t, name, path, 4)
}

// sums compares lengths of packets, and checks the checksums of the second file.
func sums(t *testing.T, before, after string, fewer int) {
	t.Helper()
	lengths := func(name string, check bool) (list []int) {
		c, err := openCapture(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		for f := new(frame); c.next(f) == nil; {
			list = append(list, f.length)
			if !check {
				continue
			}
			if f.skip != "" {
				t.Fatalf("packet %d: %s", f.number, f.skip)
			}
			again, err := nfq.AppendSpliced(nil, &f.tcp, f.tcp.Payload)
			if err != nil || !bytes.Equal(again, f.tcp.Data) {
				t.Errorf("packet %d has other checksums than %x: %x", f.number, again, f.tcp.Data)
			}
		}
		return list
	}
	was, is := lengths(before, false), lengths(after, true)
	if d := cmp.Diff(was[:len(was)-fewer], is); d != "" {
		t.Errorf("lengths (-before +after):\n%s", d)
	}
}

// TestScrubEncrypted: nothing of what follows AUTH TLS remains, nor names in the
// link layer.
func TestScrubEncrypted(t *testing.T) {
	f := newFilm(t)
	f.kind = linkSLL
	f.link = func(ip []byte) []byte {
		b := append(make([]byte, 6), 0xaa, 1, 2, 3, 4, 5, 0, 0, 0, 0)
		binary.BigEndian.PutUint16(b[14:], etherType(ip))
		return append(b, ip...)
	}
	w := f.connection("[fd00::5]:40000", "[2001:db8:0:7::21]:21")
	w.open()
	w.lines("S: 220 ready\nC: EPRT |2|fd00::5|4000|\nS: 200 ok\nC: AUTH TLS\nS: 234 go\n")
	w.send(0, nfq.FlagACK, "\x16\x03\x01\x00\x20server.corp.example\nalice\n")
	w.send(1, nfq.FlagACK, "\x16\x03\x03\x00\x20CN=corp.example 220 \n331 alice\r\n")
	name := f.pcapng()
	path, written, all := scrubbed(t, name)
	if written != all {
		t.Errorf("%d of %d packets", written, all)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"corp", "alice", "CN=", "331", "fd00::5", "|2|fd00::", string([]byte{0xaa, 1, 2, 3})} {
		if bytes.Contains(got, []byte(secret)) && secret != "|2|fd00::" {
			t.Errorf("%q is still there", secret)
		}
	}
	if d := cmp.Diff(verdicts(t, name), verdicts(t, path)); d != "" {
		t.Errorf("the engine's decisions (-before +after):\n%s", d)
	}
	sums(t, name, path, 0)
}

// TestAddresses: a replacement of an address has the same length and kind, and
// replaces no other.
func TestAddresses(t *testing.T) {
	m := newAddresses()
	seen := map[netip.Addr]string{}
	for _, text := range []string{
		"10.0.0.1", "10.20.30.40", "192.168.1.5", "192.168.1.6", "172.16.9.1", "8.8.8.8", "203.0.113.255", "100.64.3.200", "169.254.1.1",
		"2001:db8::1", "2001:db8:0:7::21", "fd00::5", "fe80::1:2", "64:ff9b::808:808", "2a02:1:2:3:4:5:6:7",
	} {
		a := netip.MustParseAddr(text)
		b := m.of(a)
		if b == a || m.of(a) != b || len(b.String()) != len(text) {
			t.Errorf("%s: %s, then %s", a, b, m.of(a))
		}
		if a.IsPrivate() != b.IsPrivate() || a.IsLinkLocalUnicast() != b.IsLinkLocalUnicast() || m.kept(a) != m.kept(b) {
			t.Errorf("%s: %s is of another kind", a, b)
		}
		if other, ok := seen[b]; ok {
			t.Errorf("%s stands for %s and %s", b, text, other)
		}
		seen[b] = text
	}
	for _, text := range []string{"0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1", "::", "::1", "ff02::1"} {
		if a := netip.MustParseAddr(text); m.of(a) != a {
			t.Errorf("%s: %s, want what it is", a, m.of(a))
		}
	}
	if m.err != nil {
		t.Error(m.err)
	}
	for i := range 100 { // all that are as long
		m.taken[netip.AddrFrom4([4]byte{192, 168, byte(i / 10), byte(i % 10)})] = true
	}
	if b := m.of(netip.MustParseAddr("192.168.9.9")); m.err == nil || !b.IsUnspecified() {
		t.Errorf("%s, where none is left", b)
	}
}

// TestWords: each line keeps its length, and what it must not lose.
func TestWords(t *testing.T) {
	for _, tt := range []struct {
		d        ftpalg.Direction
		in, want string
	}{
		{ftpalg.Original, "USER bob\r\n", "USER xxx\r\n"},
		{ftpalg.Original, "user bob b\r\n", "user xxx x\r\n"},
		{ftpalg.Original, "\xff\xf4\xff\xf2ABOR\r\n", "\xff\xf4\xff\xf2ABOR\r\n"},
		{ftpalg.Original, "TYPE I\r\n", "TYPE I\r\n"},
		{ftpalg.Original, "PORT 127,0,0,1,4,5\r\n", "PORT 127,0,0,1,4,5\r\n"},
		{ftpalg.Original, "EPRT |2|::1|4000|\r\n", "EPRT |2|::1|4000|\r\n"},
		{ftpalg.Original, "LPRT 4,4,127,0,0,1,2,4,5\r\n", "LPRT 4,4,127,0,0,1,2,4,5\r\n"},
		{ftpalg.Original, "LPRT 6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,4,5\r\n", "LPRT 6,16,00,0,00,000,0,0,0,0,0,0,0,0,0,0,0,0,2,4,5\r\n"},
		{ftpalg.Original, "RETR a/b.c\r\n", "RETR x/x.x\r\n"},
		{ftpalg.Original, "my password\r\n", "xx xxxxxxxx\r\n"},
		{ftpalg.Original, "\r\n", "\r\n"},
		{ftpalg.Reply, "230-Welcome bob\r\n", "230-Welcome xxx\r\n"},
		{ftpalg.Reply, "257 \"/home/bob\" is current directory\r\n", "257 \"/xxxx/xxx\" is current directory\r\n"},
		{ftpalg.Reply, "229 Entering Extended Passive Mode (|||4000|)\r\n", "229 Entering Extended Passive Mode (|||4000|)\r\n"},
		{ftpalg.Reply, "220 ftp.example.org\r\n", "220 xxx.xxxxxxx.xxx\r\n"},
		{ftpalg.Reply, "213 20240101120000\r\n", "213 20240101120000\r\n"},
		{ftpalg.Reply, "550 mode: no such file\r\n", "550 mode: no xxxx file\r\n"},
	} {
		w := newWords(newAddresses())
		b := []byte(tt.in)
		if w.scrub(tt.d, b, true); string(b) != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, b, tt.want)
		}
	}
	// An FTP word that is someone's name does not stay.
	w := newWords(newAddresses())
	w.scrub(ftpalg.Original, []byte("USER Mode\r\n"), true)
	b := []byte("331 Password required for mode\r\n")
	if w.scrub(ftpalg.Reply, b, true); string(b) != "331 Password required for xxxx\r\n" {
		t.Errorf("%q", b)
	}
	b = []byte("ssword: x\r\n")
	if w.scrub(ftpalg.Reply, b, false); string(b) != "xxxxxxx x\r\n" {
		t.Errorf("what the start of a line is missing of: %q", b)
	}
}

// TestScrubEmpty: a capture without FTP becomes one without packets.
func TestScrubEmpty(t *testing.T) {
	f := newFilm(t)
	f.put(append(make([]byte, 12), 8, 6, 1, 2, 3, 4))
	path, written, all := scrubbed(t, f.pcap())
	if written != 0 || all != 1 {
		t.Errorf("%d of %d packets", written, all)
	}
	c, err := openCapture(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if got := c.link(nil); got != layers.LinkTypeEthernet {
		t.Errorf("link type %d", got)
	}
}

func FuzzScrub(f *testing.F) {
	f.Add([]byte("PORT 1,2,3,4,5,6\r\n"), true)
	f.Add([]byte("227 (1,2,3,4,5,6) 1:2::3\r\n"), false)
	f.Fuzz(func(t *testing.T, b []byte, original bool) {
		if len(b) == 0 {
			return
		}
		w, was := newWords(newAddresses()), bytes.Clone(b)
		w.scrub(direction(original), b, true)
		for i, c := range was { // the ends of lines stay where they are
			if (c == '\n') != (b[i] == '\n') {
				t.Errorf("%q: %q", was, b)
			}
		}
	})
}

func FuzzNetwork(f *testing.F) {
	f.Add(uint16(linkEthernet), []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x81, 0, 0, 1, 8, 0, 0x45})
	f.Add(uint16(linkSLL2), make([]byte, 30))
	f.Fuzz(func(t *testing.T, link uint16, b []byte) {
		fr := frame{link: layers.LinkType(link), data: b, length: len(b)}
		if fr.decode(); fr.skip == "" && len(fr.tcp.Data) > len(b) {
			t.Errorf("a packet of %d bytes in %d", len(fr.tcp.Data), len(b))
		}
	})
}

// TestDamaged: whatever a file contains, it is read or refused, and what was read
// can be scrubbed.
func TestDamaged(t *testing.T) {
	f := newFilm(t)
	w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
	w.open()
	w.lines(dialogue)
	whole := f.bytes()
	r := rand.New(rand.NewPCG(1, 2))
	name := filepath.Join(t.TempDir(), "f")
	read := 0
	for range 500 {
		b := bytes.Clone(whole)
		for range 1 + r.IntN(6) {
			b[r.IntN(len(b))] = byte(r.IntN(256))
		}
		switch at := r.IntN(len(b)); r.IntN(4) {
		case 0:
			b = b[:at]
		case 1:
			b = slices.Delete(b, at, min(len(b), at+r.IntN(30)))
		case 2:
			b = slices.Insert(b, at, make([]byte, r.IntN(400))...)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		o := Options{Files: []string{name}, Config: config.Default()}
		if err := Run(o, func(*Record) error { return nil }); err == nil {
			read++
			_, _, _ = Scrub(o, io.Discard) // may be refused
		}
	}
	if read < 50 {
		t.Errorf("only %d files were read: the test shows little", read)
	}
}
