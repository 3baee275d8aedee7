// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"slices"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// The minimum number of slots, and the minimum average per server. 60 is
// divisible by the number of servers when only a few remain, and with 20 for each
// the share of one deviates by at most a twentieth from its weight.
const (
	minSlots  = 60
	perServer = 20
)

// count is how many slots servers of these weights get: a number that the weights
// divide.
func count(weights []int) int {
	divisor, sum := 0, 0
	for _, w := range weights {
		divisor = gcd(divisor, w)
		sum += w
	}
	if sum == 0 {
		return minSlots
	}
	sum /= divisor
	want := max(minSlots, perServer*len(weights))
	return (want + sum - 1) / sum * sum
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// spread returns n indices of weights, each as often as its weight says, and as
// evenly as possible. Without a weight it returns nil.
func spread(n int, weights []int) []int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	if sum == 0 {
		return nil
	}
	credit := make([]int, len(weights))
	slots := make([]int, n)
	for i := range slots {
		best := 0
		for j, w := range weights {
			credit[j] += w
			if credit[j] > credit[best] {
				best = j
			}
		}
		credit[best] -= sum
		slots[i] = best
	}
	return slots
}

// without gives the slots of servers that are out to the others, by their
// weights, and of those that get only a part, the rest. All other slots stay, and
// with them the clients whose addresses map to them. Without a server it returns
// nil.
func without(slots, weights []int, out []bool, part []int) []int {
	left, total := slices.Clone(weights), make([]int, len(weights))
	for i := range left {
		if out[i] || part[i] < warm {
			left[i] = 0
		}
	}
	for _, s := range slots {
		total[s]++
	}
	orphan, orphans, met := make([]bool, len(slots)), 0, make([]int, len(weights))
	for i, s := range slots {
		keeps := max(total[s]*part[s]/warm, 1)
		orphan[i] = out[s] || (met[s]+1)*keeps/total[s] == met[s]*keeps/total[s]
		met[s]++
		if orphan[i] {
			orphans++
		}
	}
	heirs := spread(orphans, left)
	if heirs == nil && (orphans > 0 || len(slots) == 0) {
		return nil
	}
	slots = slices.Clone(slots)
	for i, s := range slots {
		if orphan[i] {
			slots[i], heirs = heirs[0], heirs[1:]
		} else {
			slots[i] = s
		}
	}
	return slots
}

// fill returns how many of the next n sessions each server gets, so that its
// sessions are as few as possible for its weight.
func fill(n int, sessions, weights []int, out []bool) []int {
	next := make([]int, len(weights))
	for range n {
		best := -1
		for i, w := range weights {
			if w == 0 || out[i] {
				continue
			}
			// (a+1)/wa < (b+1)/wb, without a division
			if best < 0 || (sessions[i]+next[i]+1)*weights[best] < (sessions[best]+next[best]+1)*w {
				best = i
			}
		}
		if best >= 0 {
			next[best]++
		}
	}
	return next
}

// choose returns the server of each slot, nil without any. burst is how many
// sessions may begin before the next call.
func choose(m config.Method, weights, sessions []int, out []bool, part []int, burst int) []int {
	n := count(weights)
	if m != config.LeastSessions {
		return without(spread(n, weights), weights, out, part)
	}
	// A session counts only when its server has greeted. Looking further ahead
	// than the next few keeps many that begin at once from going to one server.
	total := 0
	for _, s := range sessions {
		total += s
	}
	weights = slices.Clone(weights)
	for i := range weights {
		weights[i] *= part[i] // warm for all but those that come back
	}
	return spread(n, fill(max(2*len(weights), 2*burst, total/4), sessions, weights, out))
}
