// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// readHex reads bytes from a file of testdata: hexadecimal digits, each line with
// a comment after "#". The files contain little-endian messages.
func readHex(t testing.TB, name string) []byte {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the recorded messages are of a little-endian machine")
	}
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	must(t, err)
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		code, _, _ := strings.Cut(line, "#")
		digits.WriteString(strings.TrimSpace(code))
	}
	b, err := hex.DecodeString(digits.String())
	must(t, err)
	return b
}

// hexLines prints a message as 16 bytes a line, for a readable diff.
func hexLines(b []byte) string {
	var s strings.Builder
	for i := 0; i < len(b); i += 16 {
		fmt.Fprintf(&s, "%x\n", b[i:min(i+16, len(b))])
	}
	return s.String()
}

// fakeKernel is a Conn whose requests are stored and acknowledged.
type fakeKernel struct {
	*Conn
	kernel int      // the other end of its socket
	sent   [][]byte // its requests, one per write
}

func newFakeKernel(t *testing.T) *fakeKernel {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	k := &fakeKernel{Conn: newConn(fds[0]), kernel: fds[1]}
	k.Conn.seq = 6 // the first request has 7, as in testdata
	k.Conn.write = func(fd int, b []byte) (int, error) {
		k.sent = append(k.sent, bytes.Clone(b))
		n, err := unix.Write(fd, b)
		// Answers before the request's system call returns, as the kernel does.
		answerAll(k.kernel, b)
		return n, err
	}
	return k
}

// answerAll acknowledges the requests in b; a dump is ended.
func answerAll(fd int, b []byte) {
	for len(b) > 0 {
		m, rest, err := parseAnswer(b)
		if err != nil {
			return
		}
		typ := uint16(unix.NLMSG_ERROR)
		if m.flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP {
			typ = unix.NLMSG_DONE
		}
		ack := appendRequest(nil, typ, 0, m.seq, 0) // struct nfgenmsg is four zero bytes, too
		_, _ = unix.Write(fd, endRequest(ack, 0))
		b = rest
	}
}

// Each request equals, byte for byte, the file in testdata, attribute by
// attribute, as tried on the kernel.
func TestGoldenRequests(t *testing.T) {
	addr, port := netip.MustParseAddr, netip.MustParseAddrPort
	control4 := Tuple{Src: port("192.168.77.2:51000"), Dst: port("203.0.113.2:21")}
	control6 := Tuple{Src: port("[fd77::2]:51000"), Dst: port("[2001:db8::2]:21")}
	plain := Expectation{Master: control4, Source: addr("192.168.77.2"), Dest: port("203.0.113.2:40000"), Timeout: 59*time.Second + 1}
	bare := plain
	bare.Timeout = 0
	for _, tc := range []struct {
		want string // files of testdata, one per write
		do   func(c *Conn) error
	}{
		{"get4", func(c *Conn) error { _, err := c.Get(control4); return err }},
		{"get6", func(c *Conn) error { _, err := c.Get(control6); return err }},
		{"delete", func(c *Conn) error { return c.Delete(control4) }},
		{"mark", func(c *Conn) error { return c.UpdateMark(control4, 0x38000000, 0x0c000000) }},
		{"timeout", func(c *Conn) error { return c.UpdateTimeout(control4, 5*24*time.Hour) }},
		{"liberal", func(c *Conn) error { return c.SetLiberal(control4) }},
		{"dump dump6", func(c *Conn) error { return c.DumpTo([]PortRange{{21, 21}}, func(*Entry) {}) }},
		{"dump_expected", func(c *Conn) error { return c.DumpExpected(func(*Entry) {}) }},
		{"seqadj", func(c *Conn) error {
			_, err := c.SetSeqAdj(control4, Reply, SeqAdj{Pos: 4000000000, Before: -1, After: 4})
			return err
		}},
		{"expect_plain4 expect_change", func(c *Conn) error { return c.CreateExpectation(plain) }},
		{"expect_active4 -", func(c *Conn) error {
			return c.CreateExpectation(Expectation{
				Master: control4, Source: addr("203.0.113.2"), SourcePort: 20, Dest: port("203.0.113.1:40000"),
				NAT: true, Direction: Reply, ToAddr: addr("192.168.77.2"), ToPort: 40001, Timeout: time.Minute,
			})
		}},
		{"expect_passive6", func(c *Conn) error {
			return c.CreateExpectation(Expectation{
				Master: control6, Source: addr("fd77::2"), Dest: port("[2001:db8::2]:40000"),
				NAT: true, Direction: Original, ToAddr: addr("2001:db8::2"), ToPort: 40000,
			})
		}},
		{"expect_get", func(c *Conn) error { return c.DeleteExpectation(control4, bare.Tuple()) }},
		{"expect_delete", func(c *Conn) error { return c.deleteExpectation(bare.Tuple()) }},
		{"expect_dump", func(c *Conn) error { return c.DumpExpectations(func(*ExpectationInfo) {}) }},
		{"claim_plain4", func(c *Conn) error {
			return c.Claim(Claim{
				Original: Tuple{Src: port("192.168.77.2:45000"), Dst: port("203.0.113.2:40000")},
				Master:   control4, Timeout: 30 * time.Second,
			})
		}},
		{"claim_both4", func(c *Conn) error {
			return c.Claim(Claim{
				Original: Tuple{Src: port("203.0.113.2:20"), Dst: port("203.0.113.1:40000")},
				Master:   control4, DNAT: port("192.168.77.2:40001"), SNAT: port("192.168.77.1:0"),
				Mark: 0x04000000, Timeout: 30 * time.Second,
			})
		}},
		{"claim_dnat6", func(c *Conn) error {
			return c.Claim(Claim{
				Original: Tuple{Src: port("[fd77::2]:45000"), Dst: port("[fd77::1]:40000")},
				Master:   control6, DNAT: port("[2001:db8::2]:40000"),
			})
		}},
	} {
		t.Run(tc.want, func(t *testing.T) {
			k := newFakeKernel(t)
			_ = tc.do(k.Conn) // a look-up that is only acknowledged fails
			files := strings.Fields(tc.want)
			if len(k.sent) != len(files) {
				t.Fatalf("%d requests, want %d", len(k.sent), len(files))
			}
			for i, file := range files {
				if file == "-" {
					continue
				}
				if d := cmp.Diff(hexLines(readHex(t, file)), hexLines(k.sent[i])); d != "" {
					t.Errorf("%s (-want +got):\n%s", file, d)
				}
			}
		})
	}
}
