// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// tally counts how many slots each of n servers has.
func tally(slots []int, n int) []int {
	c := make([]int, n)
	for _, s := range slots {
		c[s]++
	}
	return c
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		method            config.Method
		weights, sessions []int
		out               []bool
		want              []int // slots; nil: none at all
	}{
		{config.RoundRobin, []int{1, 1, 1}, nil, []bool{false, false, false}, []int{20, 20, 20}},
		{config.RoundRobin, []int{3, 2, 1}, nil, []bool{false, false, false}, []int{30, 20, 10}},
		{config.RoundRobin, []int{30, 20, 10}, nil, []bool{false, false, false}, []int{30, 20, 10}},
		{config.RoundRobin, []int{3, 2, 1}, nil, []bool{true, false, false}, []int{0, 40, 20}},
		{config.SourceHash, []int{3, 2, 1}, nil, []bool{false, true, false}, []int{45, 0, 15}},
		{config.SourceHash, []int{3, 2, 1}, nil, []bool{false, true, true}, []int{60, 0, 0}},
		{config.RoundRobin, []int{3, 0, 1}, nil, []bool{false, false, false}, []int{45, 0, 15}},
		{config.RoundRobin, []int{3, 0, 1}, nil, []bool{true, false, true}, nil},
		{config.RoundRobin, []int{0, 0}, nil, []bool{false, false}, nil},
		{config.LeastSessions, []int{1, 1, 1}, []int{0, 0, 0}, []bool{false, false, false}, []int{20, 20, 20}},
		{config.LeastSessions, []int{1, 1, 1}, []int{90, 3, 3}, []bool{false, false, false}, []int{0, 30, 30}},
		{config.LeastSessions, []int{1, 1, 1}, []int{0, 3, 3}, []bool{true, false, false}, []int{0, 30, 30}},
		{config.LeastSessions, []int{2, 1, 1}, []int{2, 1, 9}, []bool{false, false, false}, []int{40, 20, 0}},
		{config.LeastSessions, []int{1, 1}, []int{0, 0}, []bool{true, true}, nil},
	} {
		t.Run(fmt.Sprint(tt.method, tt.weights, tt.sessions, tt.out), func(t *testing.T) {
			if tt.sessions == nil {
				tt.sessions = make([]int, len(tt.weights))
			}
			slots := choose(tt.method, tt.weights, tt.sessions, tt.out, allWarm(len(tt.weights)), 0)
			if tt.want == nil {
				if slots != nil {
					t.Errorf("slots %v, want none", slots)
				}
				return
			}
			if got := tally(slots, len(tt.weights)); !slices.Equal(got, tt.want) {
				t.Errorf("slots by server %v, want %v", got, tt.want)
			}
		})
	}
}

// TestSourceStays: clients of a server that is not out keep it, whatever happens
// to the others.
func TestSourceStays(t *testing.T) {
	weights := []int{5, 3, 2, 2}
	none := make([]int, len(weights))
	all := choose(config.SourceHash, weights, none, make([]bool, len(weights)), allWarm(len(weights)), 0)
	for mask := range 1<<len(weights) - 1 {
		out := make([]bool, len(weights))
		for i := range out {
			out[i] = mask>>i&1 == 1
		}
		for i, s := range choose(config.SourceHash, weights, none, out, allWarm(len(weights)), 0) {
			if out[s] || !out[all[i]] && s != all[i] {
				t.Fatalf("out %v: slot %d is with %d, and was with %d", out, i, s, all[i])
			}
		}
	}
}

// TestSpreadEven: no server gets two slots in a row if another one could have had
// one.
func TestSpreadEven(t *testing.T) {
	slots := spread(60, []int{1, 1, 1})
	for i := range slots {
		if i > 0 && slots[i] == slots[i-1] {
			t.Fatalf("slots %d and %d are with one server: %v", i-1, i, slots)
		}
	}
}

// TestShares: whichever servers are out, the others' shares equal their weights
// to within a tenth of an equal part.
func TestShares(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := 1 + r.IntN(16)
		weights, out, sum := make([]int, n), make([]bool, n), 0
		for i := range weights {
			weights[i] = 1 + r.IntN(5)
			if out[i] = r.IntN(4) == 0; !out[i] {
				sum += weights[i]
			}
		}
		if sum == 0 {
			continue
		}
		slots := choose(config.RoundRobin, weights, make([]int, n), out, allWarm(n), 0)
		for i, got := range tally(slots, n) {
			want := float64(weights[i]) / float64(sum)
			if out[i] {
				want = 0
			}
			if have := float64(got) / float64(len(slots)); have < want-0.1/float64(n)-0.01 || have > want+0.1/float64(n)+0.01 {
				t.Errorf("weights %v, out %v: server %d has %.3f of %d slots, want %.3f", weights, out, i, have, len(slots), want)
			}
		}
	}
}
