// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"io"
	"log/slog"
	"testing"

	"github.com/pasvport/pasvport/expect"
)

// TestZones: the first control connection in a zone is reported, once, and how it
// is treated.
func TestZones(t *testing.T) {
	for _, alone := range []bool{false, true} {
		log := &logbook{}
		z := &zones{log: slog.New(slog.NewTextHandler(io.MultiWriter(log), nil)), leftAlone: alone}
		if z.note(&expect.Entry{}); z.seen.Load() {
			t.Error("the default zone is one")
		}
		e := entryOf(1)
		e.Reply.Zone = 7
		z.note(&e)
		if !z.seen.Load() || log.has("left alone") != alone || !log.has("198.51.100.1:40000") {
			t.Errorf("left alone %v: %s", alone, log.b.String())
		}
		n := log.b.Len()
		if z.note(&e); log.b.Len() != n {
			t.Error("it is reported twice")
		}
	}
}
