// SPDX-License-Identifier: Apache-2.0

// Package doctor explains why FTP works or does not work on this host: what the
// kernel supports, what the rules of others do to control connections, and what
// would happen to an announced data connection.
//
// It only reads. Kernel features are probed in a network namespace of its own, if
// the process may make one; otherwise in the current one, with objects that no
// packet ever meets. The self-test runs a daemon and real transfers in namespaces
// of its own.
package doctor
