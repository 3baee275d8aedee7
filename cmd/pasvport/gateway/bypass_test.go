// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
)

// TestStandAside: what is not read is left to the kernel, with a reason.
func TestStandAside(t *testing.T) {
	for _, tt := range []struct {
		name   string
		edit   func(*expect.Entry)
		ports  func(*config.Config)
		left   succession.Left
		logged string
	}{
		{"a helper", func(e *expect.Entry) { e.Helper = "ftp" }, nil, succession.LeftAlone, "left to the in-kernel helper ftp"},
		{"a zone in one direction", func(e *expect.Entry) { e.Reply.Zone = 3 }, nil, succession.LeftAlone, "in a conntrack zone in one direction only"},
		{"an encrypted port", func(e *expect.Entry) { e.Original.Dst = ap("203.0.113.1:990") },
			func(c *config.Config) { c.TLSPorts = append(c.TLSPorts, portRange(990)) }, succession.LeftEncrypted, "session is encrypted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.ports)
			e := entryOf(1)
			tt.edit(&e)
			l := b.connect(e)
			l.accepts(client, "PORT 198,51,100,1,200,10\r\n")
			if b.k.left[1] != tt.left.String() || l.session().Left() != tt.left || len(b.k.expected) > 0 {
				t.Errorf("left as %q, expectations %v", b.k.left[1], b.k.expected)
			}
			b.logs(tt.logged)
		})
	}
}

// TestStay: a session whose packets come although it was left alone is left alone
// again, but not for packets that were already queued.
func TestStay(t *testing.T) {
	b := newBench(t, nil)
	e := entryOf(1)
	e.Helper = "ftp"
	l := b.connect(e)
	l.accepts(client, "NOOP\r\n")
	delete(b.k.left, 1)
	if l.accepts(client, "NOOP\r\n"); b.k.left[1] != "" {
		t.Error("it is left alone again at once")
	}
	r := l.session().Acquire(&b.w.work)
	defer r.Release()
	b.bypass.stay(r, &nfq.Packet{}, time.Now().Add(3*time.Second))
	if b.k.left[1] != "" {
		t.Error("it is left alone again for a packet without payload")
	}
	b.bypass.stay(r, &nfq.Packet{Payload: []byte("x")}, time.Now().Add(3*time.Second))
	if b.k.left[1] == "" {
		t.Error("it is not left alone again")
	}
}

// TestLeaveFails: an error of the kernel is reported.
func TestLeaveFails(t *testing.T) {
	b := newBench(t, nil)
	b.k.refuses = errors.New("no room")
	e := entryOf(1)
	e.Helper = "ftp"
	b.connect(e).accepts(client, "NOOP\r\n")
	b.logs(`msg="cannot leave a session alone"`, `err="no room"`)
}
