// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"net/netip"
	"time"
)

// Transfer is one file or list that went over a data connection, or was to.
type Transfer struct {
	Verb     string // RETR, STOR, STOU, APPE, LIST, NLST, MLSD
	Path     string // as the client gave it; of STOU as the server named it, if it did
	Absolute string // the same, absolute; "" if it is not certain
	Upload   bool   // client to server
	List     bool
	ASCII    bool
	Offset   uint64 // where a resumed transfer starts (REST), in bytes

	Asked time.Time // when the command came
	Began time.Time // when the server said that it begins; zero: never
	Ended time.Time // when the final reply came
	Code  int       // of the final reply; 0: the session ended before
	Reply string    // its last line

	// What is known of the data connection.
	Mode   string            // "active" or "passive"
	Data   [2]netip.AddrPort // who opened it and to whom; zero: it did not come
	Bytes  uint64            // carried in the transfer's direction
	Counts bool              // Bytes is known
}

// Complete reports whether the server said that all of it was transferred.
func (t *Transfer) Complete() bool { return t.Code == 226 || t.Code == 250 }

// Duration returns how long the transfer lasted.
func (t *Transfer) Duration() time.Duration {
	if t.Began.IsZero() {
		return 0
	}
	return t.Ended.Sub(t.Began)
}

// Rate returns the bytes per second, 0 if that is not known.
func (t *Transfer) Rate() float64 {
	if s := t.Duration().Seconds(); t.Counts && s > 0 {
		return float64(t.Bytes) / s
	}
	return 0
}
