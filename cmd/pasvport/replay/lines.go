// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxLine is how much of a line is shown.
const maxLine = 512

// lines puts the lines of one direction together, to be shown.
type lines struct {
	known bool
	next  uint32 // the byte that is expected
	buf   []byte
}

// add takes a segment and returns the lines that it completes, as they are shown.
func (l *lines) add(seq uint32, p []byte) (complete []string) {
	if !l.known {
		l.known, l.next = true, seq
	}
	seen := int32(l.next - seq)
	switch {
	case seen >= int32(len(p)):
		return nil
	case seen < 0:
		complete = append(complete, fmt.Sprintf("[%d bytes are not in the capture]", -seen))
		l.buf, seen = l.buf[:0], 0
	}
	l.next = seq + uint32(len(p))
	l.buf = append(l.buf, p[seen:]...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 && len(l.buf) < maxLine {
			return complete
		}
		if i < 0 || i > maxLine {
			i = maxLine - 1
		}
		complete = append(complete, shown(bytes.TrimRight(l.buf[:i+1], "\r\n")))
		l.buf = append(l.buf[:0], l.buf[i+1:]...)
	}
}

// rest returns what is there of a line that was not completed.
func (l *lines) rest() string { return shown(l.buf) }

// shown is a line without a password and without what a terminal would act on.
func shown(b []byte) string {
	if secret(b) {
		return strings.ToUpper(string(b[:4])) + " ***"
	}
	quoted := strconv.QuoteToASCII(string(b))
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// secret reports whether a line is a command whose argument is no one's business.
func secret(b []byte) bool {
	if len(b) < 5 {
		return false
	}
	verb := strings.ToUpper(string(b[:4]))
	return (verb == "PASS" || verb == "ACCT" || verb == "ADAT") && (b[4] == ' ' || b[4] == '\t')
}
