// SPDX-License-Identifier: Apache-2.0

package ftpalg

// replyLine is the start of a server's line: a code and what follows it.
type replyLine struct {
	code int  // 100 to 699, 0 if the line does not start with a code
	more bool // the code is followed by '-': first line of several
}

// parseReply reads the code at the start of a server's line (RFC 959 section
// 4.2). A code must be followed by a space, a hyphen or the end of the line.
func parseReply(line []byte) replyLine {
	if len(line) < 3 || line[0] < '1' || line[0] > '6' || !isDigit(line[1]) || !isDigit(line[2]) {
		return replyLine{}
	}
	r := replyLine{code: int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')}
	if len(line) > 3 {
		switch line[3] {
		case ' ':
		case '-':
			r.more = true
		default:
			return replyLine{}
		}
	}
	return r
}

// isPassiveCode reports whether a reply with this code announces a port: the
// answers to PASV, LPSV and EPSV.
func isPassiveCode(code int) bool { return code >= 227 && code <= 229 }

// mayBePassiveReply reports whether a server's line that starts with b may
// turn out to be such a reply.
func mayBePassiveReply(b []byte) bool {
	switch {
	case len(b) == 0:
		return false
	case len(b) < 3:
		return string(b) == "22"[:len(b)]
	}
	return b[0] == '2' && b[1] == '2' && b[2] >= '7' && b[2] <= '9'
}
