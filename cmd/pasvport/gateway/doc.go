// SPDX-License-Identifier: Apache-2.0

// Package gateway joins the four packages of pasvport: it takes control packets
// from the queues (nfq), lets the protocol engine judge them (ftpalg), opens
// pinholes in conntrack (expect) and in nftables (rules), and forwards the
// packets.
//
// Each queue has one goroutine, a worker, and both directions of a connection go
// to the same worker; so the engines need no lock. docs/architecture.md lists the
// other goroutines.
//
// A part of the gateway is a type of its own over services, which know neither
// sessions nor workers. Sessions are found in the registry, and begin and end in
// life. No part knows [Gateway], which makes them. What they need of the kernel
// is in five small interfaces.
package gateway
