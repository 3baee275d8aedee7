// SPDX-License-Identifier: Apache-2.0

// Package pinhole is the life of a pinhole, the permission for one data
// connection, from the announcement to its end:
//
//	reserved   its key is taken, and the kernel is being told
//	open       the kernel knows it, and it is announced
//	used       its data connection came
//	expired    no data connection came in time
//	replaced   its control connection announced another one
//	closed     its announcement was refused, or its control connection ended
//
// A [Table] has the pinholes that are reserved or open, and the data
// connections that came. Taking a pinhole out of the table is atomic and names
// the state that it then has: of a data connection that comes, a time that
// passes and a session that ends at the same moment exactly one succeeds, and
// what there is to do in the kernel is done by the one that does.
//
// An [Owner] is the part of a control connection that its pinholes need. The
// package knows nothing else of control connections, and the kernel only by
// [Conntrack] and [Firewall]. It starts no goroutine, and holds no lock over a
// call of either.
package pinhole
