// SPDX-License-Identifier: Apache-2.0

package replay

import "bytes"

// Text replaces the addresses in texts by others, at random and always the same way,
// as Scrub does in captures.
type Text struct{ words *words }

// NewText returns a Text that has replaced nothing yet.
func NewText() *Text { return &Text{newWords(newAddresses())} }

// Replace returns a text with other addresses.
func (t *Text) Replace(b []byte) []byte {
	b = bytes.Clone(b)
	for line := range bytes.Lines(b) {
		t.words.addresses(line)
	}
	return b
}

// Err returns an error if addresses were left that nothing could stand for.
func (t *Text) Err() error { return t.words.addrs.err }
