// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"

	"golang.org/x/sys/unix"
)

// dumpTries bounds how often the ruleset may change while it is read: a busy
// daemon of ours opens pinholes all the time.
const dumpTries = 20

// errChanging says that somebody changes the ruleset all the time.
var errChanging = errors.New("the ruleset changed each time it was read")

// A Dumper lists what nftables holds, message by message.
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

// Dump has read list a whole ruleset, and once more if it changed meanwhile.
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
		// A set that went while we read it is an error, and a change.
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
