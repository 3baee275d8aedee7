// SPDX-License-Identifier: Apache-2.0

// Package report passes on what happened, told once, to each place where it is
// looked for: a line of the log and an event of the stream that `pasvport events`
// reads. Both have the same words, the same names of fields and the session that
// it happened to.
package report
