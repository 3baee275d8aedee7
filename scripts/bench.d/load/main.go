// SPDX-License-Identifier: Apache-2.0

// Load is the load generator of scripts/bench: an FTP server and an FTP client
// that do as little as they can, each a process of its own in the namespace of
// its host, so that no thread ever changes namespaces and what both cost can be
// told from what the firewall costs.
//
//	load serve ADDR:PORT
//	load drive ADDR:PORT
//
// The client reads requests from standard input and writes answers to standard
// output, JSON objects, one a line; see Request and Answer.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Request is something to measure.
type Request struct {
	Do       string        // transfers, noop, logins, hold, first, bulk
	Mode     string        // PASV or PORT
	Sessions int           // how many at once
	Time     time.Duration // how long
	Count    int           // how many round trips, of noop
}

// Answer is what was measured.
type Answer struct {
	Count   int             // transfers, logins, or bytes of bulk
	Elapsed time.Duration   // what they took
	Times   []time.Duration // of noop, in order
	Error   string
}

func main() {
	err := errors.New("usage: load serve|drive ADDR:PORT")
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "serve":
			err = serve(os.Args[2])
		case "drive":
			err = answer(&client{server: os.Args[2]}, json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// answer handles requests until there are no more.
func answer(c *client, in *json.Decoder, out *json.Encoder) error {
	for {
		var r Request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := c.do(r)
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}
