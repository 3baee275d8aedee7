// SPDX-License-Identifier: Apache-2.0

package ftpalg

// pending is the queue of commands that the server has not answered yet.
type pending struct {
	cmd [64]command
	n   int
}

// push adds a command. When the queue is full its oldest command is given up.
func (p *pending) push(c command) {
	if p.n == len(p.cmd) {
		p.drop(1)
	}
	p.cmd[p.n] = c
	p.n++
}

// drop removes the n oldest commands.
func (p *pending) drop(n int) {
	copy(p.cmd[:], p.cmd[n:p.n])
	p.n -= n
}

// head returns the oldest command.
func (p *pending) head() (command, bool) {
	return p.cmd[0], p.n > 0
}

// index returns the place of the first command that f accepts, or -1.
func (p *pending) index(f func(command) bool) int {
	for i, c := range p.cmd[:p.n] {
		if f(c) {
			return i
		}
	}
	return -1
}

func isPassive(c command) bool  { return c == cmdPASV || c == cmdEPSV }
func isTransfer(c command) bool { return c == cmdTransfer }
