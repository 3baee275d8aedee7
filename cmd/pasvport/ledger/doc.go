// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps account of what a control connection was used for: who
// logged in, which command came last, and which files were transferred with what
// result. It is given the lines of the dialogue, in order, and matches replies to
// commands as RFC 959 section 5.4 has them.
//
// It decides nothing and is never asked before a packet moves on. It reads no
// clock, and keeps no password: the arguments of PASS and ACCT are not looked at.
package ledger
