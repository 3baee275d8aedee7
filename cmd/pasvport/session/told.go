// SPDX-License-Identifier: Apache-2.0

package session

import (
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/ledger"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// told is what was reported about a session: by conntrack, by its dialogue, and
// to the administrator. It is under its lock.
type told struct {
	mu     sync.Mutex
	state  uint8           // of the TCP connection, expect.TCPState...
	mode   uint8           // of the last accepted offer, see modes
	mark   uint32          // the ct mark, as far as it was reported
	cause  keepalive.Cause // why we ended it, if we did
	ledger *ledger.Ledger  // nil before the first line
	offer  *offer          // the last one, nil without any
	note   string
}

// offer is an announcement as it is shown, with its pinhole, nil if it was
// refused.
type offer struct {
	control.Offer
	pinhole *pinhole.Pinhole
}

// SetState records the state of the TCP connection.
func (t *told) SetState(state uint8) {
	t.mu.Lock()
	t.state = state
	t.mu.Unlock()
}

// Established reports whether conntrack has it as an open connection.
func (t *told) Established() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state == expect.TCPStateEstablished
}

// SetClosed implements keepalive.Session.
func (t *told) SetClosed() { t.SetState(expect.TCPStateClose) }

// SetMark records the ct mark of its entry.
func (t *told) SetMark(mark uint32) {
	t.mu.Lock()
	t.mark = mark
	t.mu.Unlock()
}

// Mark returns the ct mark of its entry, as far as it was reported.
func (t *told) Mark() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mark
}

// SetCause records why we end the connection.
func (t *told) SetCause(c keepalive.Cause) {
	t.mu.Lock()
	t.cause = c
	t.mu.Unlock()
}

// SetNote records a note for the administrator.
func (t *told) SetNote(text string) {
	t.mu.Lock()
	t.note = text
	t.mu.Unlock()
}

// Opened records an offer for which a pinhole is open.
func (t *told) Opened(o control.Offer, m ftpalg.Mode, p *pinhole.Pinhole) {
	t.mu.Lock()
	t.mode, t.offer = modeOf(m), &offer{o, p}
	t.mu.Unlock()
}

// Refused records an offer that was refused.
func (t *told) Refused(o control.Offer) {
	t.mu.Lock()
	t.offer = &offer{Offer: o}
	t.mu.Unlock()
}

// LastOffer returns the last recorded offer; the zero value if there was none.
func (t *told) LastOffer() (o control.Offer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.offer != nil {
		o = t.offer.Offer
	}
	return o
}

// Entry is what a line of the dialogue has completed, and for whom.
type Entry struct {
	Event    ledger.Event
	User     string
	Transfer ledger.Transfer // of EventTransferEnded
}

// Enter enters a line that the engine has read into the ledger.
func (t *told) Enter(d ftpalg.Direction, line []byte, failed bool, now time.Time) (e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ledger == nil {
		t.ledger = new(ledger.Ledger)
	}
	if d == ftpalg.Original {
		t.ledger.Command(line, failed, now)
		return e
	}
	if e.Event = t.ledger.Reply(line, now); e.Event == ledger.EventNone {
		return e
	}
	if e.User = t.ledger.User(); e.Event == ledger.EventTransferEnded {
		e.Transfer = *t.ledger.Transfer()
	}
	return e
}

// Unfinished returns the transfer without a final reply, and reports whether
// there is one.
func (t *told) Unfinished() (user string, transfer ledger.Transfer, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ledger == nil {
		return "", transfer, false
	}
	if r := t.ledger.Transfer(); r != nil && r.Ended.IsZero() {
		transfer = *r
	}
	return t.ledger.User(), transfer, transfer.Verb != ""
}

// Ended returns the user of the session, and why it ended: "" if nothing that was
// said explains it.
func (t *told) Ended() (user string, login ledger.Login, cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cause = t.cause.String()
	if t.ledger == nil {
		return "", ledger.LoginNone, cause
	}
	if cause == "" && t.ledger.Last().String() == "QUIT" {
		cause = "quit"
	}
	return t.ledger.User(), t.ledger.Login(), cause
}

// modes are the displayed modes of sessions, empty before the first offer.
var modes = [...]control.Mode{"", control.ModeActive, control.ModePassive}

// modeOf is the index in modes of an offer's mode.
func modeOf(m ftpalg.Mode) uint8 {
	if m == ftpalg.Active {
		return 1
	}
	return 2
}
