// SPDX-License-Identifier: Apache-2.0

//go:build !race

package integration

// raceEnabled reports whether the test itself runs with the race detector.
const raceEnabled = false
