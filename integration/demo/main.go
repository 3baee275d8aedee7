// SPDX-License-Identifier: Apache-2.0

// Command demo shows pasvport at work: a client, a strict firewall with
// masquerade and a server, each in a network namespace of its own, and real FTP
// transfers between them, first without and then with the daemon.
//
// It is started by scripts/demo, and starts itself again for each part that has
// to run inside a namespace:
//
//	demo show -pasvport FILE   the demonstration (root)
//	demo server                an FTP server with its files in memory
//	demo client                one FTP session with one transfer
//	demo knock                 one TCP connection attempt
//
// The parts report to the show as lines of JSON (type note). What the show
// prints is what the two ends saw, what the kernel's own event tools reported
// (conntrack -E, nft monitor) and what the daemon logged.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: demo show|server|client|knock [flags]; scripts/demo starts it")
		os.Exit(2)
	}
	parts := map[string]func(args []string) error{
		"show":   runShow,
		"server": runServer,
		"client": runClient,
		"knock":  runKnock,
	}
	part, ok := parts[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "demo: no part %q\n", os.Args[1])
		os.Exit(2)
	}
	if err := part(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "demo %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
