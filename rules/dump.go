// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"

	"golang.org/x/sys/unix"
)

// dumpTries limits the retries if the ruleset changes while it is read: a busy
// daemon of ours opens pinholes all the time.
const dumpTries = 20

// errChanging means that the ruleset changes all the time.
var errChanging = errors.New("the ruleset changed each time it was read")

// A Dumper lists the contents of nftables, message by message.
type Dumper struct{ c *conn }

// List calls f for each object of a kind, with its attributes.
func (d Dumper) List(what string, msg uint16, f func(Family, []byte)) error {
	if err := d.c.request(msg, unix.NLM_F_DUMP, 0, nil, f); err != nil {
		return &OpError{Op: "list", Object: what, Err: err}
	}
	return nil
}

// Elements calls f for each message with elements of a set.
func (d Dumper) Elements(fam Family, table, set string, f func(Family, []byte)) error {
	s := newSet(fam, table, set, dataType{})
	if err := d.c.dumpElements(&s, f); err != nil {
		return &OpError{Op: "list elements of set", Object: set, Err: err}
	}
	return nil
}

// Dump calls read to list a whole ruleset, and again if it changed meanwhile.
func Dump(netns int, read func(Dumper) error) error {
	c, err := dial(netns)
	if err != nil {
		return err
	}
	defer c.close()
	whole := false
	for range dumpTries {
		before, err := c.generation()
		if err != nil {
			return err
		}
		// A set that disappeared while we read it is an error, and a change.
		readErr := read(Dumper{c})
		whole = whole || readErr == nil
		after, err := c.generation()
		if err != nil {
			return err
		}
		if before == after {
			return readErr
		}
	}
	if !whole {
		return &OpError{Op: "read", Object: "ruleset", Err: errChanging}
	}
	return nil
}
