// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"strings"
)

// maxDiff is how many lines that differ are compared line by line.
const maxDiff = 4000

// Diff says how two outputs differ, line by line, with "-" in front of what was
// wanted and "+" in front of what came; empty: they do not.
func Diff(want, got string) string {
	if want == got {
		return ""
	}
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	first := 0
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
		first++
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	var out strings.Builder
	fmt.Fprintf(&out, "line %d:\n", first+1)
	i, j := 0, 0
	for _, m := range common(a, b) {
		write(&out, "-", a[i:m[0]])
		write(&out, "+", b[j:m[1]])
		write(&out, " ", a[m[0]:m[0]+1])
		i, j = m[0]+1, m[1]+1
	}
	write(&out, "-", a[i:])
	write(&out, "+", b[j:])
	return out.String()
}

func write(out *strings.Builder, mark string, lines []string) {
	for _, l := range lines {
		out.WriteString(mark + l + "\n")
	}
}

// common returns the places of a longest common subsequence; none for texts that
// are too long to compare.
func common(a, b []string) (places [][2]int) {
	if len(a) > maxDiff || len(b) > maxDiff {
		return nil
	}
	length := make([][]uint16, len(a)+1) // of what is common behind i and j
	for i := range length {
		length[i] = make([]uint16, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if length[i][j] = max(length[i+1][j], length[i][j+1]); a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			}
		}
	}
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			places = append(places, [2]int{i, j})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return places
}
