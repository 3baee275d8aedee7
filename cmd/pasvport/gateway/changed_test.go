// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

	"github.com/pasvport/pasvport/nfq"
)

// TestQueuedAgain: what was changed, and is queued again as it was forwarded, passes,
// whoever adjusts sequence numbers. What its sender repeats is changed again.
func TestQueuedAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		here bool
	}{{"adjusted by the kernel", false}, {"adjusted here", true}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.k.noAdjust = tt.here
			l := b.connect(entryOf(1))
			l.logIn()
			start := l.next[server]
			l.passive(50000)
			p := b.sent(b.ids)
			for range 2 {
				b.ids++
				p.ID = b.ids
				if v, sent := b.handle(p); v != "accept" {
					t.Errorf("queued again: %s, as %q", v, sent)
				}
			}
			l.say(client, "RETR file\r\n")
			if data, changed := b.q.data[b.ids]; changed != tt.here {
				t.Errorf("the next packet is changed: %v", changed)
			} else if changed {
				var p nfq.Packet
				if err := nfq.ParsePacket(&p, data); err != nil {
					t.Fatal(err)
				}
				b.ids++
				p.ID = b.ids
				if v, _ := b.handle(&p); v != "accept" {
					t.Errorf("renumbered, and queued again: %s, from %d to %d", v, p.Seq, b.sent(p.ID).Seq)
				}
			}
			if p := b.sent(l.again(server, start, announced)); string(p.Payload) != told {
				t.Errorf("repeated by its sender: %q", p.Payload)
			}
		})
	}
}
