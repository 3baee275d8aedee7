// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Way is the direction of a transfer.
type Way uint8

const (
	// WayUnknown: no command has determined it.
	WayUnknown Way = iota
	// Down: to the client.
	Down
	// Up: to the server.
	Up
)

// String returns "unknown", "down" or "up".
func (w Way) String() string { return [...]string{"unknown", "down", "up"}[w] }

// ways are the directions of the commands that open a data connection.
var ways = map[verb]Way{
	{'R', 'E', 'T', 'R'}: Down, {'L', 'I', 'S', 'T'}: Down, {'N', 'L', 'S', 'T'}: Down, {'M', 'L', 'S', 'D'}: Down,
	{'S', 'T', 'O', 'R'}: Up, {'A', 'P', 'P', 'E'}: Up, {'S', 'T', 'O', 'U'}: Up,
}

// noteWay reports the direction of the last offer's transfer, as soon as that is
// known.
func (c *dialogue) noteWay() {
	if !c.policy.OneWay || c.policy.Watch || c.way != WayUnknown {
		return
	}
	if c.way = c.pending.way(); c.way != WayUnknown {
		c.events = append(c.events, Event{Kind: EventWay, Way: c.way})
	}
}

// way returns the direction of the first transfer that waits for its answer and
// can belong to the last offer. One that was sent after a command that asks for a
// port belongs to the offer to come.
func (p *pending) way() Way {
	way := WayUnknown
	for i := range p.list {
		switch e := &p.list[i]; {
		case isPassive(e.cmd) && !e.guessed:
			return way
		case e.offer: // those before it used an earlier one
			way = WayUnknown
		case way == WayUnknown:
			way = e.way
		}
	}
	return way
}
