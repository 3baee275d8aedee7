// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVerdicts: each verdict is the one that it is called, and only those that could
// not be given for another reason than the queue's end are noted.
func TestVerdicts(t *testing.T) {
	q, log := newQueue(), &logbook{}
	v := &verdicts{queue: q, log: slog.New(slog.NewTextHandler(io.MultiWriter(log), nil))}
	v.accept(1)
	v.acceptLater(2)
	v.acceptMark(3, 0x10)
	v.acceptData(4, []byte("x"))
	v.drop(5)
	v.flush()
	for id, want := range []string{"", "accept", "accept", "accept, mark 0x10", "changed", "drop"} {
		if id > 0 && (len(q.verdicts[uint32(id)]) != 1 || q.verdicts[uint32(id)][0] != want) {
			t.Errorf("packet %d: %v, want %s", id, q.verdicts[uint32(id)], want)
		}
	}
	q.err = unix.ENOENT
	v.drop(6)
	if log.has("verdict failed") {
		t.Error("the end of the queue is noted")
	}
	q.err = errors.New("odd")
	if v.drop(7); !log.has("verdict failed", "odd") {
		t.Error("a verdict that failed is not noted")
	}
}
