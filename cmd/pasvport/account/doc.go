// SPDX-License-Identifier: Apache-2.0

// Package account reports what sessions were used for: that they began and ended,
// who logged in, and which files were transferred with what result; to the log, to
// those who follow what happens, and to the xferlog.
//
// The dialogue says what was transferred, and conntrack how many bytes went over
// the data connection, when that is closed. Package ledger knows the first, a
// session's pinholes know the second, and [Accounts] brings them together.
package account
