// SPDX-License-Identifier: Apache-2.0

// Package doctor explains why FTP works or does not work on this host: what the
// kernel can do, what the rules of others do to control connections, and what
// would become of an announced data connection.
//
// It reads and touches nothing. Kernel features are tried in a network
// namespace of their own, where the process may make one; otherwise in the
// present one, with objects that no packet ever meets. The self-test runs a
// daemon and real transfers in namespaces of its own.
package doctor
