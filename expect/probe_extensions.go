// SPDX-License-Identifier: Apache-2.0

package expect

import "errors"

// Extensions says what the kernel keeps with an entry beyond its addresses.
type Extensions struct {
	// SeqAdj: the sequence numbers of an entry with the helper sane can be
	// adjusted. Needs nf_nat.
	SeqAdj Feature

	// Mark: an entry keeps a mark. Needs CONFIG_NF_CONNTRACK_MARK.
	Mark Feature
}

// errMarkIgnored says that a mark was acknowledged and not kept.
var errMarkIgnored = errors.New("acknowledged and not kept")

// ProbeExtensions tries as Probe does, and like it removes what it makes.
func ProbeExtensions() (Extensions, error) {
	c, err := Dial()
	if err != nil {
		return Extensions{}, err
	}
	defer c.Close()
	t := newTrial("192.0.2.1", "198.51.100.1")
	return Extensions{SeqAdj: feature(t.adjust(c)), Mark: feature(t.mark(c))}, nil
}

func (t *trial) adjust(c *Conn) error {
	return t.withControl(c, "sane", func() error {
		_, err := c.SetSeqAdj(t.control, Original, SeqAdj{Pos: 1, After: 1})
		return err
	})
}

func (t *trial) mark(c *Conn) error {
	return t.withControl(c, "", func() error {
		const mark = 0x0c000000
		if err := c.UpdateMark(t.control, mark, mark); err != nil {
			return err
		}
		e, err := c.Get(t.control)
		if err == nil && e.Mark != mark {
			err = errMarkIgnored
		}
		return err
	})
}
