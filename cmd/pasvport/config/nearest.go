// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// Nearest returns the name that was probably meant by an unknown one, or "".
// Candidates are names that begin with it, and those that one typing error in
// three letters makes of it.
func Nearest(typed string, names []string) string {
	best, distance := "", (len(typed)+1)/3+1
	for _, n := range names {
		d := distanceOf(typed, n)
		if len(typed) >= 3 && strings.HasPrefix(n, typed) {
			d = min(d, 1)
		}
		if d < distance {
			best, distance = n, d
		}
	}
	return best
}

// distanceOf counts the letters that have to be inserted, deleted, replaced or
// swapped with the next one to turn a into b (optimal string alignment).
func distanceOf(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
