// SPDX-License-Identifier: Apache-2.0

// Package gateway joins the four packages of pasvport: it takes control
// packets from the queues (nfq), has the protocol engine judge them (ftpalg),
// opens pinholes in the connection tracker (expect) and in nftables (rules),
// and sends the packets on.
//
// Each queue has one goroutine, a worker, and a connection meets the same
// worker in both directions; so the engines need no lock. Beside the workers
// one goroutine watches the tracker's events: it notes data connections,
// and closes pinholes whose control connection ended.
package gateway
