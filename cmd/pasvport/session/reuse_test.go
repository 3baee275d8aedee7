// SPDX-License-Identifier: Apache-2.0

package session

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// TestSessionOfEntry: a session is not taken for that of another connection
// with the same ports, even if the tracker gives both entries the same id.
func TestSessionOfEntry(t *testing.T) {
	control := tuple("192.0.2.1:4000", "192.0.2.2:21")
	open := expect.Entry{ID: 7, Original: control, Reply: expect.Tuple{Src: control.Dst, Dst: control.Src}, TCPState: expect.TCPStateEstablished}
	another, closed, liberal := open, open, open
	another.ID, closed.TCPState, liberal.Liberal = 8, expect.TCPStateTimeWait, true
	for _, tt := range []struct {
		name     string
		closing  bool
		seq      uint32 // the engine waits for 1000
		doubtful bool
		entry    expect.Entry
		is       bool
	}{
		{"goes on", false, 1000, false, open, true},
		{"repeats itself", false, 900, false, open, true},
		{"is closed", true, 1000, true, closed, true},
		{"is closed, and opened again", true, 1000, true, open, false},
		{"is closed, and another one open", true, 1000, true, another, false},
		{"begins elsewhere", false, 1 << 30, true, open, false},
		{"begins elsewhere, behind", false, 1<<32 - 1<<30, true, another, false},
		{"was acknowledged long ago, as far as the tracker knows", false, 1<<32 - 1<<30, true, open, true},
		{"anything goes", false, 1 << 30, true, liberal, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(&open, &ftpalg.Policy{}, time.Unix(1000, 0), true, new(ftpalg.Workspace))
			s.Engine.Segment(&ftpalg.Segment{Dir: ftpalg.Original, Seq: 990, Payload: []byte("USER pvp\r\n")})
			s.set(closing, tt.closing)
			p := &nfq.Packet{Src: control.Src, Dst: control.Dst, Seq: tt.seq}
			doubtful := s.Doubtful(p)
			if doubtful != tt.doubtful {
				t.Errorf("doubtful is %v, want %v", doubtful, tt.doubtful)
			}
			if doubtful && s.Is(&tt.entry, p) != tt.is {
				t.Errorf("is that of the entry: %v, want %v", !tt.is, tt.is)
			}
		})
	}
}
