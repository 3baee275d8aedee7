// SPDX-License-Identifier: Apache-2.0

// Package selftest runs this program as a daemon on a firewall between an FTP
// client and an FTP server, in three network namespaces of its own, and
// transfers files in every mode.
//
// The namespaces have no names and no other owner than this process: they go
// with it, however it ends. Client and server are a few commands of RFC 959
// and RFC 2428, not more than the transfers need. They read and write addresses
// by themselves: with ftpalg's parsers a fault of those would be on both sides.
// The ends of integration (miniftp_test.go, dialogue.go) are not these ones, as
// they answer what a test wants them to, and its product must not depend on them.
package selftest
