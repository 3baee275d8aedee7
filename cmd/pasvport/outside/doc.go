// SPDX-License-Identifier: Apache-2.0

// Package outside keeps the addresses to announce up to date that are given by a DNS
// name or by an interface. Nothing of it waits in a packet's way: what was found last
// holds until something else is found.
package outside
