// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// cuts are ways to cut pipelined commands into segments: how long the next piece
// is. Every write becomes a segment, as far as TCP's window permits.
var cuts = []struct {
	name string
	next func(*rand.Rand) int
}{
	{"one byte", func(*rand.Rand) int { return 1 }},
	{"up to three bytes", func(r *rand.Rand) int { return 1 + r.IntN(3) }},
	{"up to forty bytes", func(r *rand.Rand) int { return 1 + r.IntN(40) }},
	{"several lines", func(r *rand.Rand) int { return 50 + r.IntN(200) }},
	{"all at once", func(*rand.Rand) int { return 1 << 20 }},
}

// TestCuts sends dialogues with announcements that grow and shrink, in pieces.
// The other end must receive what it would receive of whole lines.
func TestCuts(t *testing.T) {
	needDaemon(t)
	const sessions = 10 // of each kind
	for _, p := range []string{"masquerade", "both-nat"} {
		for _, s := range subjects(t) {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(p), AllowRelated, s)
				site.Case(Case{Family: IPv4, Kind: "cuts"}).Count(t)
				site.startNumbered(t, true)
				seed := rand.Uint64()
				var wg sync.WaitGroup
				for i := range sessions * len(cuts) {
					wg.Go(func() {
						if err := site.cutSession(i, seed); err != nil {
							t.Errorf("session %d, %s, seed %d: %v", i, cuts[i%len(cuts)].name, seed, err)
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// cutSession pipelines a dialogue in pieces, and transfers a file after it.
func (s *Site) cutSession(i int, seed uint64) error {
	h := []*Host{s.Client, s.Client2}[i/len(cuts)%2]
	l, err := numberedLogin(h, i, s.Dial(h, IPv4, 0), true)
	if err != nil {
		return err
	}
	defer l.c.Close()
	l.limit(30 * time.Second)
	var text strings.Builder
	var checks []func() error
	modes := IPv4.Modes()
	for round := range len(modes) {
		m := modes[(i+round)%len(modes)]
		line, reply := l.noop()
		text.WriteString(line + "\r\n" + l.announcement(m) + "\r\n")
		checks = append(checks, func() error { return l.expect(reply) }, func() error { _, err := l.answered(m); return err })
	}
	if err := l.pieces(text.String(), cuts[i%len(cuts)].next, rand.New(rand.NewPCG(seed, uint64(i)))); err != nil {
		return err
	}
	for n, check := range checks {
		if err := check(); err != nil {
			return fmt.Errorf("reply %d: %w", n, err)
		}
	}
	for _, m := range []Mode{PORT, PASV} {
		if err := l.transfer(m); err != nil {
			return err
		}
	}
	return nil
}

func (s *numberedSession) pieces(text string, next func(*rand.Rand) int, rng *rand.Rand) error {
	for len(text) > 0 {
		n := min(next(rng), len(text))
		if _, err := io.WriteString(s.c, text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}
