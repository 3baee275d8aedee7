// SPDX-License-Identifier: Apache-2.0

package ftpalg

// skipTelnet returns the length of the Telnet commands (RFC 854) before a
// line: a client sends IAC IP IAC DM before ABOR (RFC 959 section 3.4).
func skipTelnet(b []byte) int {
	const iac, will, dont = 255, 251, 254
	i := 0
	for i+1 < len(b) && b[i] == iac && b[i+1] != iac {
		if b[i+1] >= will && b[i+1] <= dont {
			i++
		}
		i += 2
	}
	return min(i, len(b))
}
