// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Results of a knock.
const (
	knockOpen    = "open"    // somebody answered
	knockRefused = "refused" // a reset came back: a packet got through, nobody listened
	knockSilent  = "silent"  // nothing came back: dropped on the way
)

// runKnock tries one TCP connection and notes how it ended.
func runKnock(args []string) error {
	flags := flag.NewFlagSet("knock", flag.ExitOnError)
	from := flags.String("from", "", "source address")
	to := flags.String("to", "", "address and port to connect to")
	wait := flags.Duration("wait", time.Second, "silence that counts as dropped")
	_ = flags.Parse(args)

	dialer := net.Dialer{Timeout: *wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(*from)}}
	conn, err := dialer.Dial("tcp", *to)
	result, err := knockResult(err)
	if err != nil {
		return err
	}
	if conn != nil {
		conn.Close()
	}
	newNotebook(os.Stdout).write(note{Kind: noteKnock, Text: result})
	return nil
}

// knockResult reads the outcome of a dial; an error that is none of the three
// outcomes comes back.
func knockResult(err error) (string, error) {
	var timeout net.Error
	switch {
	case err == nil:
		return knockOpen, nil
	case errors.Is(err, unix.ECONNREFUSED):
		return knockRefused, nil
	case errors.As(err, &timeout) && timeout.Timeout():
		return knockSilent, nil
	}
	return "", err
}
