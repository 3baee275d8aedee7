// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func tuple(src, dst string) Tuple {
	return Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

var cmpAddrPort = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// Entries as Linux 6.18 sent them, of connections with both translations.
var recordedEntries = []struct {
	file string
	typ  EventType // type of the message as an event
	want Entry
}{
	{"entry_control4", Update, Entry{
		Original: tuple("192.168.77.2:53301", "192.168.77.1:2121"),
		Reply:    tuple("203.0.113.2:2121", "203.0.113.1:53301"),
		Status: StatusSeenReply | StatusAssured | StatusConfirmed | StatusSrcNAT | StatusDstNAT | StatusSeqAdjust |
			1<<7 | 1<<8 | StatusHelper,
		Mark: 0x04000000, ID: 0xb5a90485, Timeout: 432000 * time.Second, Helper: "sane",
		TCPState: TCPStateEstablished,
		Adj:      [2]SeqAdj{Reply: {Pos: 3000000000, Before: 0, After: -3}},
		Packets:  [2]uint64{4, 3}, Bytes: [2]uint64{217, 165}, HasCounters: true,
	}},
	{"entry_control6", Update, Entry{
		Original: tuple("[fd77::2]:35437", "[fd77::1]:2121"),
		Reply:    tuple("[2001:db8::2]:2121", "[2001:db8::1]:35437"),
		Status: StatusSeenReply | StatusAssured | StatusConfirmed | StatusSrcNAT | StatusDstNAT |
			1<<7 | 1<<8 | StatusHelper,
		Mark: 0x04000000, ID: 0x1f30a0ae, Timeout: 432000 * time.Second, Helper: "sane",
		TCPState: TCPStateEstablished,
		Packets:  [2]uint64{4, 3}, Bytes: [2]uint64{297, 225}, HasCounters: true,
	}},
	{"entry_child4", Update, Entry{
		Original: tuple("203.0.113.2:41673", "203.0.113.1:37505"),
		Reply:    tuple("192.168.77.2:37505", "192.168.77.1:41673"),
		Master:   tuple("192.168.77.2:53301", "192.168.77.1:2121"),
		Status: StatusExpected | StatusSeenReply | StatusAssured | StatusConfirmed | StatusSrcNAT | StatusDstNAT |
			1<<7 | 1<<8,
		Mark: 0x04000000, ID: 0xcdeec974, Timeout: 432000 * time.Second, TCPState: TCPStateEstablished,
		Packets: [2]uint64{4, 3}, Bytes: [2]uint64{217, 165}, HasCounters: true,
	}},
	{"event_new4", New, Entry{
		Original: tuple("203.0.113.2:41673", "203.0.113.1:37505"),
		Reply:    tuple("192.168.77.2:37505", "192.168.77.1:41673"),
		Master:   tuple("192.168.77.2:53301", "192.168.77.1:2121"),
		Status:   StatusExpected | StatusConfirmed | StatusSrcNAT | StatusDstNAT | 1<<7 | 1<<8,
		Mark:     0x04000000, ID: 0xcdeec974, Timeout: 120 * time.Second, TCPState: TCPStateSynSent,
	}},
	{"event_destroy4", Destroy, Entry{
		Original: tuple("203.0.113.2:41673", "203.0.113.1:37505"),
		Reply:    tuple("192.168.77.2:37505", "192.168.77.1:41673"),
		Status: StatusExpected | StatusSeenReply | StatusAssured | StatusConfirmed | StatusSrcNAT | StatusDstNAT |
			1<<7 | 1<<8 | StatusDying,
		Mark: 0x04000000, ID: 0xcdeec974, Timeout: 431998 * time.Second, TCPState: TCPStateEstablished,
		Packets: [2]uint64{4, 3}, Bytes: [2]uint64{217, 165}, HasCounters: true,
	}},
}

func TestParseEntryRecorded(t *testing.T) {
	for _, tc := range recordedEntries {
		t.Run(tc.file, func(t *testing.T) {
			m, rest, err := parseAnswer(readHex(t, tc.file))
			must(t, err)
			if len(rest) != 0 {
				t.Errorf("%d bytes remain", len(rest))
			}
			if got := eventType(&m); got != tc.typ {
				t.Errorf("event type %v, want %v", got, tc.typ)
			}
			var e Entry
			tcp, err := parseEntry(&e, m.attrs())
			must(t, err)
			if !tcp {
				t.Error("not recognised as TCP")
			}
			if d := cmp.Diff(tc.want, e, cmpAddrPort); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestParseExpectationRecorded(t *testing.T) {
	m, _, err := parseAnswer(readHex(t, "expectation_active4"))
	must(t, err)
	var got ExpectationInfo
	if tcp, err := parseExpectation(&got, m.attrs()); err != nil || !tcp {
		t.Fatalf("tcp %v, error %v", tcp, err)
	}
	want := ExpectationInfo{
		Master:   tuple("192.168.77.2:53301", "192.168.77.1:2121"),
		Expected: tuple("203.0.113.2:0", "203.0.113.1:37505"),
		Mask:     tuple("255.255.255.255:0", "255.255.255.255:65535"),
		Timeout:  time.Minute, ID: 0x2db7b712, Helper: "sane",
		NAT: true, Direction: Reply, To: netip.MustParseAddrPort("192.168.77.2:37505"), Function: "nat-follow-master",
	}
	if d := cmp.Diff(want, got, cmpAddrPort); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestParseError(t *testing.T) {
	m, _, err := parseAnswer(readHex(t, "error_enoent"))
	must(t, err)
	if m.typ != unix.NLMSG_ERROR {
		t.Errorf("type %d, want NLMSG_ERROR", m.typ)
	}
	wantErr(t, "errno", m.errno(), unix.ENOENT)
	wantErr(t, "errno of an empty message", (&answer{}).errno(), errMalformed)
}

// A message truncated anywhere inside an attribute is refused; truncated between
// attributes it is just shorter.
func TestParseTruncated(t *testing.T) {
	m, _, err := parseAnswer(readHex(t, "entry_control4"))
	must(t, err)
	whole := m.attrs()
	boundary := make(map[int]bool)
	for a := (attrs{rest: whole}); ; {
		boundary[len(whole)-len(a.rest)] = true
		if !a.next() {
			break
		}
	}
	for n := range whole {
		var e Entry
		_, err := parseEntry(&e, whole[:n])
		if (err == nil) != boundary[n] {
			t.Errorf("%d of %d bytes: error %v", n, len(whole), err)
		}
	}
}

// The socket may still hold the answer to an earlier request that was given up:
// it must not be used for the next.
func TestStaleAnswersAreSkipped(t *testing.T) {
	k := newFakeKernel(t)
	stale := endRequest(appendRequest(nil, unix.NLMSG_ERROR, 0, k.seq, 0), 0)
	binary.NativeEndian.PutUint32(stale[nlmsgHeaderLen:], 0xfffffffe) // ENOENT
	_, err := unix.Write(k.kernel, stale)
	must(t, err)
	must(t, k.Delete(tuple("192.0.2.1:1024", "198.51.100.1:21")))
}

func TestSeconds(t *testing.T) {
	for _, tc := range []struct {
		in   time.Duration
		want uint32
	}{
		{-time.Second, 0}, {0, 0}, {1, 1}, {time.Second, 1}, {time.Second + 1, 2}, {1<<63 - 1, 1<<31 - 1},
	} {
		if got := seconds(tc.in); got != tc.want {
			t.Errorf("seconds(%d) = %d, want %d", tc.in, got, tc.want)
		}
	}
}

func TestTuple(t *testing.T) {
	x := tuple("192.0.2.1:1024", "198.51.100.1:21")
	if x.Reverse().Reverse() != x || x.Reverse().Src != x.Dst {
		t.Errorf("reverse of %v is %v", x, x.Reverse())
	}
	if got, want := x.String(), "192.0.2.1:1024 > 198.51.100.1:21"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, bad := range []Tuple{
		{}, {Src: x.Src}, {Dst: x.Dst},
		tuple("192.0.2.1:1", "198.51.100.1:0"),
		tuple("192.0.2.1:1", "[2001:db8::1]:21"),
		tuple("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:21"),
		tuple("[fe80::1%eth0]:1", "[fe80::2]:21"),
	} {
		if bad.valid() {
			t.Errorf("%v is valid", bad)
		}
	}
}

// FuzzParse feeds the decoders what no kernel sends: they must neither panic nor
// read beyond the buffer, and what they accept as a tuple must survive a round
// trip.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) == 0 {
		f.Fatal("no recorded messages", err)
	}
	for _, file := range files {
		f.Add(readHex(f, strings.TrimSuffix(filepath.Base(file), ".hex")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			m, rest, err := parseAnswer(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			b = rest
			_ = m.errno()
			_ = eventType(&m)
			var e Entry
			if tcp, err := parseEntry(&e, m.attrs()); err == nil && tcp && e.Original.valid() {
				roundTrip(t, e.Original)
			}
			var x ExpectationInfo
			_, _ = parseExpectation(&x, m.attrs())
		}
	})
}

func roundTrip(t *testing.T, want Tuple) {
	t.Helper()
	var e Entry
	tcp, err := parseEntry(&e, appendTuple(nil, ctaTupleOrig, want))
	if err != nil || !tcp || e.Original != want {
		t.Fatalf("%v came back as %v, tcp %v, error %v", want, e.Original, tcp, err)
	}
}
