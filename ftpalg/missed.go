// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Missed notes that segments may have passed unread, because the rules that
// bring them were away for a moment. A segment behind unseen bytes is then read at
// once, as the first one is of a connection that is not seen from its start, and
// the first reply that announces a port is believed to be asked for: the command
// may have been among what was missed.
func (c *Conn) Missed() {
	for d := range c.stream {
		c.stream[d].blind = c.stream[d].known
	}
	c.met = false
	c.Resume()
}
