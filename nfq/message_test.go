// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
)

// unhex decodes hex with white space and skips comments after a #. The golden
// messages are those of a little-endian machine.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("golden messages are little endian")
	}
	var all strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		all.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(all.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendBind(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Config
		want string
	}{
		{"fail open", Config{Num: 2121, MaxLen: 4096, FailOpen: true}, `
			00 00 0849            # AF_UNSPEC, version 0, queue 2121
			0800 0100 01 00 0000  # NFQA_CFG_CMD: BIND
			0900 0200 0000ffff 02 000000 # NFQA_CFG_PARAMS: 65535 bytes, COPY_PACKET
			0800 0300 00001000    # NFQA_CFG_QUEUE_MAXLEN
			0800 0400 00000001    # NFQA_CFG_MASK
			0800 0500 00000001    # NFQA_CFG_FLAGS: FAIL_OPEN`},
		{"drop", Config{Num: 1, MaxLen: 1}, `
			00 00 0001
			0800 0100 01 00 0000
			0900 0200 0000ffff 02 000000
			0800 0300 00000001
			0800 0400 00000001
			0800 0500 00000000`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(unhex(t, tt.want), appendBind(nil, tt.in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

var goldenVerdicts = []struct {
	name    string
	id      uint32
	verdict uint32
	data    []byte
	want    string
}{
	{"accept", 0x01020304, nfqueue.NfAccept, nil, `
		20000000 0103 0100 00000000 00000000 # 32 bytes, QUEUE|VERDICT, REQUEST
		00 00 0849                           # queue 2121
		0c00 0200 00000001 01020304          # NFQA_VERDICT_HDR: NF_ACCEPT, id`},
	{"drop", 5, nfqueue.NfDrop, nil, `
		20000000 0103 0100 00000000 00000000 00 00 0849
		0c00 0200 00000000 00000005`},
	{"data with padding", 6, nfqueue.NfAccept, []byte("abcde"), `
		2c000000 0103 0100 00000000 00000000 00 00 0849
		0c00 0200 00000001 00000006
		0900 0a00 6162636465 000000          # NFQA_PAYLOAD`},
}

func TestAppendVerdict(t *testing.T) {
	for _, tt := range goldenVerdicts {
		t.Run(tt.name, func(t *testing.T) {
			got := appendVerdict([]byte{0xaa}, 2121, tt.id, tt.verdict, tt.data)
			if diff := cmp.Diff(append([]byte{0xaa}, unhex(t, tt.want)...), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// sentSocket stores the message that netlink.Conn sends.
type sentSocket struct{ sent netlink.Message }

func (s *sentSocket) Close() error                            { return nil }
func (s *sentSocket) Send(m netlink.Message) error            { s.sent = m; return nil }
func (s *sentSocket) SendMessages(ms []netlink.Message) error { return errors.New("not used") }
func (s *sentSocket) Receive() ([]netlink.Message, error)     { return nil, errors.New("not used") }

// TestAppendVerdictLikeLibrary compares with go-nfqueue's encoder.
func TestAppendVerdictLikeLibrary(t *testing.T) {
	nf, err := nfqueue.Open(&nfqueue.Config{NfQueue: 2121})
	if err != nil {
		t.Skipf("no netlink socket: %v", err)
	}
	nf.Con.Close()
	var s sentSocket
	nf.Con = netlink.NewConn(&s, 0)
	for _, tt := range goldenVerdicts {
		if tt.data == nil {
			err = nf.SetVerdict(tt.id, int(tt.verdict))
		} else {
			err = nf.SetVerdictWithOption(tt.id, int(tt.verdict), nfqueue.WithAlteredPacket(tt.data))
		}
		if err != nil {
			t.Fatal(err)
		}
		typ, body, rest, err := nextMessage(appendVerdict(nil, 2121, tt.id, tt.verdict, tt.data))
		if err != nil || len(rest) != 0 || typ != uint16(s.sent.Header.Type) {
			t.Fatalf("%s: type %#x, %d bytes left, %v", tt.name, typ, len(rest), err)
		}
		if diff := cmp.Diff(s.sent.Data, body); diff != "" {
			t.Errorf("%s (-library +ours):\n%s", tt.name, diff)
		}
	}
}

// packetMessage builds what the kernel sends for data.
func packetMessage(id uint32, hook uint8, data []byte) []byte {
	b := make([]byte, nlmsgHdrLen, 256)
	binary.NativeEndian.PutUint16(b[4:], nfqnlMsgPacket)
	b = append(b, 2, 0, 0, 0)
	b = appendAttr(b, nfqaPacketHdr, append(be32(id), 0x08, 0, hook)...)
	b = appendAttr(b, 4, make([]byte, 16)...) // NFQA_TIMESTAMP
	b = appendAttr(b, nfqaPayload, data...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestParsePacketMessage(t *testing.T) {
	whole := packetMessage(9, HookOutput, []byte("packet"))[nlmsgHdrLen:]
	id, hook, data, seen, err := parsePacketMessage(whole)
	if id != 9 || hook != HookOutput || string(data) != "packet" || !seen || err != nil {
		t.Errorf("got %d %d %q %v %v", id, hook, data, seen, err)
	}
	for n := range len(whole) - 2 { // the last two are padding
		id, _, _, seen, err := parsePacketMessage(whole[:n:n])
		if err == nil {
			t.Errorf("message cut to %d bytes is accepted", n)
		}
		if want := n >= 4+12-1; seen != want || seen && id != 9 {
			t.Errorf("message cut to %d bytes: id %d, seen %v, want %v", n, id, seen, want)
		}
	}
}

func TestNextMessage(t *testing.T) {
	two := append(packetMessage(1, 0, []byte("abc")), packetMessage(2, 0, []byte("defg"))...)
	var ids []uint32
	for rest := two; len(rest) > 0; {
		typ, body, r, err := nextMessage(rest)
		if err != nil || typ != nfqnlMsgPacket {
			t.Fatalf("type %#x, %v", typ, err)
		}
		id, _, _, _, err := parsePacketMessage(body)
		if err != nil {
			t.Fatal(err)
		}
		ids, rest = append(ids, id), r
	}
	if diff := cmp.Diff([]uint32{1, 2}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, b := range map[string][]byte{
		"short":    make([]byte, 15),
		"length 0": make([]byte, 16),
		"too long": append([]byte{17}, make([]byte, 15)...),
		"huge":     append([]byte{0xff, 0xff, 0xff, 0xff}, make([]byte, 15)...),
	} {
		if _, _, _, err := nextMessage(b); !errors.Is(err, errShortMessage) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzPacketMessage(f *testing.F) {
	f.Add(packetMessage(1, 0, control4.packet()))
	f.Add(packetMessage(2, 3, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			_, body, rest, err := nextMessage(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			if _, _, data, seen, err := parsePacketMessage(body); err == nil && (!seen || data == nil) {
				t.Fatal("accepted without header or payload")
			}
			b = rest
		}
	})
}

// spliceHandler does a packet's work except the system call.
type spliceHandler struct {
	idleHandler
	packets int
	buf     []byte
	verdict []byte
}

func (h *spliceHandler) Packet(p *Packet) {
	h.packets++
	h.buf, _ = AppendSpliced(h.buf[:0], p, p.Payload)
	h.verdict = appendVerdict(h.verdict[:0], 1, p.ID, nfqueue.NfAccept, h.buf)
}

// TestDatagramAllocations follows two messages from the datagram to the verdict.
func TestDatagramAllocations(t *testing.T) {
	h := &spliceHandler{}
	q := &Queue{handler: h}
	b := append(packetMessage(1, 0, control4.packet()), packetMessage(2, 3, control6.packet())...)
	if n := testing.AllocsPerRun(100, func() { q.datagram(b, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s := h.packets; s != 202 || q.packets.Load() != 202 || q.malformed.Load() != 0 {
		t.Errorf("%d packets handled, %d counted, %d malformed", s, q.packets.Load(), q.malformed.Load())
	}
	_, body, _, err := nextMessage(h.verdict)
	if err != nil || !bytes.Contains(body, control6.packet()) {
		t.Errorf("the last verdict does not carry the packet: %x, %v", body, err)
	}
}

// TestDatagramFromUser refuses messages that another process sent.
func TestDatagramFromUser(t *testing.T) {
	h := &spliceHandler{}
	q := &Queue{handler: h}
	q.datagram(packetMessage(1, 0, control4.packet()), 4711)
	if h.packets != 0 || q.errors.Load() != 1 {
		t.Errorf("%d packets handled, %d errors", h.packets, q.errors.Load())
	}
}

func BenchmarkVerdict(b *testing.B) {
	for name, data := range map[string][]byte{"accept": nil, "data": make([]byte, 1452)} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				buf = appendVerdict(buf[:0], 2121, 1, nfqueue.NfAccept, data)
			}
		})
	}
}
