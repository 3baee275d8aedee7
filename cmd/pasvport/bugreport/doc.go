// SPDX-License-Identifier: Apache-2.0

// Package bugreport collects what a bug report needs into one archive: the state
// of the daemon, the kernel and the ruleset. What is not available is replaced by
// the reason. It changes nothing.
package bugreport
