// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/pasvport/pasvport/nfq"
)

// filmed is a capture of raw IP packets, with a session on port 2121.
func filmed(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	const raw = 101
	if err := w.WriteFileHeader(1<<16, raw); err != nil {
		t.Fatal(err)
	}
	ends := [2]netip.AddrPort{netip.MustParseAddrPort("192.168.1.5:40000"), netip.MustParseAddrPort("10.0.0.2:2121")}
	seq := [2]uint32{1, 1}
	for i, line := range []string{"S220 ready", "CUSER alice", "S331 go on", "CPASS secret", "S230 in", "CPASV", "S227 ok (10,0,0,2,19,137)"} {
		d := strings.IndexByte("CS", line[0])
		var p nfq.Packet
		s := nfq.Segment{Src: ends[d], Dst: ends[1-d], Seq: seq[d], Ack: seq[1-d], Flags: nfq.FlagACK, Window: 1}
		if err := nfq.ParsePacket(&p, nfq.AppendSegment(nil, &s)); err != nil {
			t.Fatal(err)
		}
		packet, err := nfq.AppendSpliced(nil, &p, []byte(line[1:]+"\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		seq[d] += uint32(len(line) + 1)
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(1700000000, int64(i)*1e6), CaptureLength: len(packet), Length: len(packet)}
		if err := w.WritePacket(ci, packet); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "film.pcap")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReplay: the settings are those of run, an output can be compared with a
// later one, and JSON has one object per line.
func TestReplay(t *testing.T) {
	film := filmed(t)
	args := []string{"replay", film, "--config", empty(t), "--port", "2121"}
	status, out, stderr := call(args...)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, errors %q", status, stderr)
	}
	const offer = "      7   0.006000   #1    offer: offered, passive 227 announces 10.0.0.2:5001: 192.168.1.5 may connect to 10.0.0.2:5001\n"
	if !strings.Contains(out, offer) || strings.Contains(out, "secret") {
		t.Errorf("output\n%s\nwant in it\n%s", out, offer)
	}
	golden := filepath.Join(t.TempDir(), "expected")
	if err := os.WriteFile(golden, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out, stderr := call(append(args, "--expect", golden)...); status != 0 || out != "" || stderr != "" {
		t.Errorf("as expected: status %d, output %q, errors %q", status, out, stderr)
	}
	status, out, stderr = call(append(args, "--expect", golden, "--advertise", "10.0.0.2=203.0.113.5")...)
	if status != 1 || !strings.Contains(out, "\n+      7   0.006000   #1    edit: 227 ok (203,0,113,5,19,137)\n") || !strings.Contains(stderr, "not what was expected") {
		t.Errorf("otherwise: status %d, output\n%serrors %q", status, out, stderr)
	}
	_, out, _ = call(append(args, "--json")...)
	for line := range strings.Lines(out) {
		var r struct {
			Kind   string
			Packet int
			Offer  *struct{ Target string }
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Kind == "" {
			t.Errorf("%q: %v", line, err)
		}
		if r.Kind == "offer" && (r.Packet != 7 || r.Offer == nil || r.Offer.Target != "10.0.0.2:5001") {
			t.Errorf("offer %s", line)
		}
	}
}

func TestReplayScrub(t *testing.T) {
	film, out := filmed(t), filepath.Join(t.TempDir(), "scrubbed.pcap")
	args := []string{"replay", film, "--config", empty(t), "--port", "2121", "--scrub", out}
	if status, _, stderr := call(args...); status != 0 || stderr != out+": 7 of 7 packets\n" {
		t.Errorf("status %d, errors %q", status, stderr)
	}
	b, err := os.ReadFile(out)
	if err != nil || bytes.Contains(b, []byte("alice")) || bytes.Contains(b, []byte("secret")) || !bytes.Contains(b, []byte("227 ok (10,")) {
		t.Errorf("%q, error %v", b, err)
	}
	// An existing file is not overwritten, least of all the capture itself.
	if status, _, stderr := call(args...); status != 1 || !strings.Contains(stderr, "file exists") {
		t.Errorf("again: status %d, errors %q", status, stderr)
	}
}

func TestReplayUsage(t *testing.T) {
	film := filmed(t)
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, 2, "replay: 0 arguments, want the name of a capture, or of two"},
		{[]string{film, film, film}, 2, "replay: 3 arguments, want the name of a capture, or of two"},
		{[]string{"/no/such"}, 1, "open /no/such: no such file or directory"},
		{[]string{film, "--nat", "x"}, 2, `--nat "x": want INSIDE=OUTSIDE, two addresses of one family, such as 192.168.1.5=203.0.113.7`},
		{[]string{film, "--nat", "10.0.0.1=::1"}, 2, `--nat "10.0.0.1=::1": want INSIDE=OUTSIDE, two addresses of one family, such as 192.168.1.5=203.0.113.7`},
		{[]string{film, film, "--scrub", "x"}, 2, "--scrub with two captures: want one"},
		{[]string{film, "--checks", "all"}, 2, `--checks "all": want lenient, normal, strict, or the name of a check of docs/protocol.md with or without '-' in front, or a list of them`},
		{[]string{film, "--expect", "/no/such"}, 1, "open /no/such: no such file or directory"},
		{[]string{film, "--queues", "1"}, 2, "unknown flag: --queues; see pasvport replay --help"},
	} {
		status, stdout, stderr := call(append([]string{"replay", "--config", empty(t)}, tt.args...)...)
		if status != tt.status || stdout != "" || stderr != "pasvport: "+tt.want+"\n" {
			t.Errorf("%q: status %d, output %q, errors %q; want %d and %q", tt.args, status, stdout, stderr, tt.status, tt.want)
		}
	}
}
