// SPDX-License-Identifier: Apache-2.0

package balance

import "time"

// warm is the part of its share that a server gets that has been there for long.
const warm = 1000

// warming reports whether an end came back a short time ago.
func (p *pool) warming(e *end, now time.Time) bool {
	return !e.back.IsZero() && now.Sub(e.back) < p.SlowStart
}

// warmth returns the part of its share that each server gets, warm at the most. Beside
// servers that come back together each has all of it.
func (p *pool) warmth(ends []*end, weights []int, out []bool, now time.Time) []int {
	part, most := make([]int, len(ends)), 1
	for i, e := range ends {
		if part[i] = warm; p.warming(e, now) {
			part[i] = 1 + int(int64(warm-1)*int64(now.Sub(e.back))/int64(p.SlowStart))
		}
		if !out[i] && weights[i] > 0 {
			most = max(most, part[i])
		}
	}
	for i := range part {
		part[i] = min(part[i]*warm/most, warm)
	}
	return part
}

// slow returns when slots change by time alone: as long as a server is warming.
func (b *Balancer) slow(now time.Time) (step time.Duration, any bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pools {
		for _, s := range p.servers {
			for _, e := range s.ends {
				if p.warming(e, now) && (!any || p.SlowStart/steps < step) {
					step, any = p.SlowStart/steps, true
				}
			}
		}
	}
	return step, any
}

// steps is in how many steps a server gets its share.
const steps = 40
