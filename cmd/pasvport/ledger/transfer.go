// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"net/netip"
	"time"
)

// Transfer is one file or list that went over a data connection, or should have.
type Transfer struct {
	Verb     string // RETR, STOR, STOU, APPE, LIST, NLST, MLSD
	Path     string // from the client; of STOU from the server, if it named it
	Absolute string // the same, absolute; "" if uncertain
	Upload   bool   // client to server
	List     bool
	ASCII    bool
	Offset   uint64 // where a resumed transfer starts (REST), in bytes

	Asked time.Time // when the command came
	Began time.Time // when the server reported the begin; zero: never
	Ended time.Time // when the final reply came
	Code  int       // of the final reply; 0: the session ended before it
	Reply string    // its last line

	// What is known of the data connection.
	Mode   string            // "active" or "passive"
	Data   [2]netip.AddrPort // who opened it and to whom; zero: it was not opened
	Bytes  uint64            // carried in the transfer's direction
	Counts bool              // Bytes is known
}

// Complete reports whether the server confirmed the whole transfer.
func (t *Transfer) Complete() bool { return t.Code == 226 || t.Code == 250 }

// Duration returns how long the transfer lasted.
func (t *Transfer) Duration() time.Duration {
	if t.Began.IsZero() {
		return 0
	}
	return t.Ended.Sub(t.Began)
}

// Rate returns the bytes per second, 0 if unknown.
func (t *Transfer) Rate() float64 {
	if s := t.Duration().Seconds(); t.Counts && s > 0 {
		return float64(t.Bytes) / s
	}
	return 0
}
