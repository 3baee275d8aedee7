// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "slices"

// explanations are what a client is told in the text of a server's error, the
// first that fits. The code and the length stay the server's.
var explanations = [...]string{"TLS is required here, use AUTH TLS", "TLS is required", "Use TLS"}

// explain makes the error that answers a login say that TLS is required.
func (c *dialogue) explain(start uint32, line []byte) {
	code := min(len("530 "), len(line))
	for _, words := range explanations {
		if room := len(line) - code; len(words) <= room {
			c.replaceLine(start, line, string(line[:code])+string(fit(words, "", room)))
			return
		}
	}
}

// explains reports whether a command waits for an error that is to be explained.
func (p *pending) explains() bool {
	return slices.ContainsFunc(p.list, func(e entry) bool { return e.explain })
}
