// SPDX-License-Identifier: Apache-2.0

// Package integration tests the pasvport command with real FTP servers and
// real FTP clients in network namespaces.
//
// A Net is a set of namespaces made for one test, a Site is a Net in one of
// the positions a firewall can have (routed, masquerade, server behind DNAT,
// ...), with the administrator's ruleset loaded and the Subject started: the
// pasvport binary, the in-kernel ftp helper for comparison, or nothing at all.
// Servers and clients of servers.go and clients.go then transfer files through it.
//
// The package needs root and the programs that scripts/peers installs; a test
// that misses one skips and names it. Environment:
//
//	PASVPORT_BIN      binary to test; otherwise cmd/pasvport is built
//	PASVPORT_RACE     1: build it with the race detector
//	PASVPORT_SUBJECT  pasvport (default) or kernel, the in-kernel helper
//	PASVPORT_PEERS    where scripts/peers unpacked proftpd and pure-ftpd
//	PASVPORT_CHAOS    how long TestChaos lasts, such as 10m; 2m by default
//	PASVPORT_LOSS_SESSIONS, PASVPORT_LOSS_ONE_IN
//	                  sessions of each kind in TestLoss, and one in how many
//	                  packets is lost on each of four ways; 200 and 10
//	PASVPORT_LOSS_RUNS
//	                  runs of TestLossHelper; 1 by default
//	PASVPORT_SLOW     how many times longer than usual programs may take and
//	                  conditions may be waited for: 3 on an emulated processor
//	PASVPORT_REPORT   file that receives the counts of cases at the end
//
// Nothing outside the namespaces and a directory below os.TempDir is touched.
package integration
