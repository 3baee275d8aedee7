// SPDX-License-Identifier: Apache-2.0

// Package top shows what a daemon does, live in a terminal or once: sessions with
// their transfer rates, totals, refusals with reasons, and what is wrong now. It
// asks through the control socket, as every other command does.
package top
