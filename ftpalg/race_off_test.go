// SPDX-License-Identifier: Apache-2.0

//go:build !race

package ftpalg

// raceEnabled reports whether the tests run with the race detector.
const raceEnabled = false
