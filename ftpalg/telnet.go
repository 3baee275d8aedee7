// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// Telnet commands (RFC 854). A client sends IAC IP IAC DM before ABOR (RFC 959
// section 3.4), the DM as urgent data.
const (
	telnetSE   = 240
	telnetSB   = 250
	telnetWILL = 251
	telnetDO   = 253
	telnetDONT = 254
	telnetIAC  = 255
)

// telnetLen returns the length of the Telnet command at the start of b, 0 if it
// does not start with one. A doubled IAC is a byte of data, and so is one before
// a byte that is not a command: a line end stays one. A truncated command has the
// length of what is there.
func telnetLen(b []byte) int {
	switch {
	case len(b) == 0 || b[0] != telnetIAC:
		return 0
	case len(b) == 1:
		return 1
	case b[1] == telnetIAC || b[1] < telnetSE:
		return 0
	case b[1] == telnetSB:
		if i := bytes.Index(b, []byte{telnetIAC, telnetSE}); i > 0 {
			return i + 2
		}
		return len(b)
	case b[1] >= telnetWILL && b[1] <= telnetDONT:
		return min(3, len(b))
	}
	return 2
}

// skipTelnet returns the length of the Telnet commands before a line.
func skipTelnet(b []byte) int {
	i := 0
	for n := telnetLen(b); n > 0; n = telnetLen(b[i:]) {
		i += n
	}
	return i
}

// plain returns a line without the Telnet commands in it: the line itself if it has none.
func plain(line []byte) []byte {
	if bytes.IndexByte(line, telnetIAC) < 0 {
		return line
	}
	return appendText(nil, line)
}

// appendText appends the line without the Telnet commands in it.
func appendText(dst, line []byte) []byte {
	for len(line) > 0 {
		if n := telnetLen(line); n > 0 {
			line = line[n:]
			continue
		}
		dst = append(dst, line[0])
		line = line[1+doubled(line):]
	}
	return dst
}

// textLen returns how many bytes of the line hold the first n of its text.
func textLen(line []byte, n int) int {
	i := 0
	for ; n > 0 && i < len(line); n-- {
		i += skipTelnet(line[i:])
		if i < len(line) {
			i += 1 + doubled(line[i:])
		}
	}
	return min(i, len(line))
}

// doubled returns 1 if the line starts with an IAC that stands for itself.
func doubled(line []byte) int {
	if len(line) > 1 && line[0] == telnetIAC && line[1] == telnetIAC {
		return 1
	}
	return 0
}
