// SPDX-License-Identifier: Apache-2.0

package succession

// Left is why a control connection is not read. It outlives the connection's
// entry and the daemon: what was judged once is not judged again.
type Left uint8

const (
	// LeftNot says that it is read.
	LeftNot Left = iota
	// LeftEncrypted: it was seen to go over to TLS, or is to a port of
	// --tls-port.
	LeftEncrypted
	// LeftForeign: it does not speak FTP.
	LeftForeign
	// LeftAlone: an in-kernel helper has it, it is one too many, or why is not
	// known any more.
	LeftAlone
)

var leftWords = [...]string{LeftNot: "", LeftEncrypted: "encrypted", LeftForeign: "not-ftp", LeftAlone: "left-alone"}

// String returns the word for l, as it is in records and in the notes of
// nftables; empty for LeftNot.
func (l Left) String() string { return leftWords[min(int(l), len(leftWords)-1)] }

// ParseLeft reads the word. One that is not known is that of a newer daemon, and
// is LeftAlone: the connection is not read, and not taken for an encrypted one.
func ParseLeft(word string) Left {
	for l, w := range leftWords {
		if w == word {
			return Left(l)
		}
	}
	return LeftAlone
}

// MarshalText implements encoding.TextMarshaler.
func (l Left) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Left) UnmarshalText(b []byte) error {
	*l = ParseLeft(string(b))
	return nil
}
