// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/nfq"
)

// TestVerdicts: each verdict reaches the queue, and only those that failed for
// another reason than the queue's end are reported.
func TestVerdicts(t *testing.T) {
	q, log := newQueue(newKernel()), &logbook{}
	v := newVerdicts(q, slog.New(slog.NewTextHandler(io.MultiWriter(log), nil)))
	v.accept(1)
	v.acceptLater(2)
	tuple := entryOf(1).Original
	p := packetOf(t, tuple, 1, 1, "x", nfq.FlagACK)
	p.ID = 3
	v.refuse(p)
	v.acceptData(4, []byte("x"))
	v.drop(5)
	v.flush()
	p = packetOf(t, tuple, 1, 1, "x", nfq.FlagACK)
	p.ID, p.Data[8] = 8, 0
	if v.refuse(p); q.verdicts[8][0] != "drop" {
		t.Errorf("no rule has refused a packet: %s", q.verdicts[8])
	}
	for id, want := range []string{"", "accept", "accept", "repeat", "changed", "drop"} {
		if id > 0 && (len(q.verdicts[uint32(id)]) != 1 || q.verdicts[uint32(id)][0] != want) {
			t.Errorf("packet %d: %v, want %s", id, q.verdicts[uint32(id)], want)
		}
	}
	q.err = unix.ENOENT
	v.drop(6)
	if log.has("verdict failed") {
		t.Error("the end of the queue is reported")
	}
	q.err = errors.New("odd")
	if v.drop(7); !log.has("verdict failed", "odd") {
		t.Error("a failed verdict is not reported")
	}
}
