// SPDX-License-Identifier: Apache-2.0

// Package bugreport collects what a bug report needs into one archive: what the
// daemon, the kernel and the ruleset say. What cannot be had is said in its place.
// It changes nothing.
package bugreport
