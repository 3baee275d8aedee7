// SPDX-License-Identifier: Apache-2.0

package outside

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// answer is an answer whose records have these lifetimes.
func answer(t *testing.T, ttls ...uint32) []byte {
	t.Helper()
	name := dnsmessage.MustNewName("ftp.example.org.")
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	for i, ttl := range ttls {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: ttl},
			Body: &dnsmessage.AResource{A: [4]byte{203, 0, 113, byte(i)}}})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLifetime: an answer holds as long as its shortest-lived record.
func TestLifetime(t *testing.T) {
	var l lifetime
	for _, tt := range []struct {
		msg  []byte
		want time.Duration
	}{
		{nil, 0}, {[]byte("no message at all"), 0}, {answer(t), 0}, {answer(t, 300, 60, 120), time.Minute}, {answer(t, 90), time.Minute}, {answer(t, 0), 0},
	} {
		if l.read(tt.msg); l.get() != tt.want {
			t.Errorf("%v, want %v", l.get(), tt.want)
		}
	}
}

// TestMessages: over TCP answers arrive in pieces.
func TestMessages(t *testing.T) {
	a, b := net.Pipe()
	var l lifetime
	c := &messages{Conn: a, note: &l}
	go func() {
		for _, ttl := range []uint32{300, 60} {
			msg := answer(t, ttl)
			for _, x := range append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...) {
				b.Write([]byte{x})
			}
		}
		b.Close()
	}()
	if _, err := io.Copy(io.Discard, c); err != nil || l.get() != time.Minute {
		t.Errorf("%v, %v", l.get(), err)
	}
}
