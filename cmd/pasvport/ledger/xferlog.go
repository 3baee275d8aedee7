// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"
	"net/netip"
	"strings"
)

// AppendXferlog appends the line of a transfer in the format of xferlog(5), as
// wu-ftpd and proftpd write it. The format has no lists: use it for files only.
func AppendXferlog(dst []byte, client netip.Addr, user string, t *Transfer) []byte {
	kind, direction, status := 'b', 'o', 'i'
	if t.ASCII {
		kind = 'a'
	}
	if t.Upload {
		direction = 'i'
	}
	if t.Complete() {
		status = 'c'
	}
	mode, name := 'r', xferlogWord(user)
	if user == "anonymous" || user == "ftp" {
		mode = 'a'
	}
	file := t.Absolute
	if file == "" {
		file = t.Path
	}
	return fmt.Appendf(dst, "%s %d %s %d %s %c _ %c %c %s ftp 0 * %c\n",
		t.Ended.Format("Mon Jan _2 15:04:05 2006"), max(1, int(t.Duration().Seconds()+0.5)), client.Unmap().WithZone(""),
		t.Bytes, xferlogWord(file), kind, direction, mode, name, status)
}

// xferlogWord makes one word of a name: readers of the format split lines at
// blanks. Bytes that are neither printable nor part of UTF-8 text become "?".
func xferlogWord(s string) string {
	if s == "" {
		return "*"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '\t':
			return '_'
		case r < ' ' || r == 0x7f || r == '�' || 0x80 <= r && r < 0xa0:
			return '?'
		}
		return r
	}, s)
}
