// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"io"
	"time"
)

// read gives the frames of the captures, in the order of their time, to a
// function. ahead is how much the clock of each is ahead of the first one's.
func read(names []string, ahead []time.Duration, each func(*frame) error) (err error) {
	type source struct {
		c    *capture
		f    frame
		done bool
	}
	var all []*source
	defer func() {
		for _, s := range all {
			err = errors.Join(err, s.c.close())
		}
	}()
	advance := func(s *source) error {
		err := s.c.next(&s.f)
		if s.done = errors.Is(err, io.EOF); s.done {
			return nil
		}
		s.f.time = s.f.time.Add(-ahead[s.c.index])
		return err
	}
	for i, name := range names {
		c, err := openCapture(name, i)
		if err != nil {
			return err
		}
		s := &source{c: c}
		all = append(all, s)
		if err := advance(s); err != nil {
			return err
		}
	}
	for {
		var first *source
		for _, s := range all {
			if !s.done && (first == nil || s.f.time.Before(first.f.time)) {
				first = s
			}
		}
		if first == nil {
			return nil
		}
		if err := each(&first.f); err != nil {
			return err
		}
		if err := advance(first); err != nil {
			return err
		}
	}
}
