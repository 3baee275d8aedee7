// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Link is the state of the two links of the pair.
type Link struct {
	Tells bool          // the other daemon receives our reports, and has all earlier ones
	Hears bool          // we receive the other daemon's reports
	Since time.Time     // time of the last change
	Err   error         // why it is not up; nil: it is, or that is unknown
	Skew  time.Duration // by how much the other machine's clock is ahead
}

// Up reports whether each daemon receives the other one's reports.
func (l Link) Up() bool { return l.Tells && l.Hears }

// links records the state of the links, and logs each change once.
type links struct {
	log  *slog.Logger
	peer string

	mu     sync.Mutex
	now    Link
	said   string // last reported error of the dialled link
	turned string // last reported refusal
}

func newLinks(log *slog.Logger, peer string) *links {
	return &links{log: log, peer: peer, now: Link{Since: time.Now()}}
}

// get returns their current state.
func (s *links) get() Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// change changes their state. s.mu is held.
func (s *links) change(f func(*Link)) {
	before := s.now.Up()
	if f(&s.now); s.now.Up() != before {
		s.now.Since = time.Now()
	}
	if s.now.Up() {
		s.now.Err = nil
	}
}

// up records that the other daemon receives our reports, and has all earlier ones.
func (s *links) up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(func(l *Link) { l.Tells = true })
	s.said = ""
	s.log.Info("peer connected", "peer", s.peer)
}

// down reports once why the other daemon does not receive our reports.
func (s *links) down(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch text := fmt.Sprint(err); {
	case s.now.Tells:
		s.log.Warn("peer gone", "peer", s.peer, "err", err, "hint", "sessions continue; until it is back a failover loses what is announced meanwhile")
		s.said = text
	case s.said != text:
		s.log.Warn("peer not reached", "peer", s.peer, "err", err, "hint", Hint(err))
		s.said = text
	}
	s.change(func(l *Link) { l.Tells, l.Err = false, err })
}

// heard records that the other daemon, whose clock is ahead by skew, begins to
// report.
func (s *links) heard(skew time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(func(l *Link) { l.Hears, l.Skew = true, skew })
	s.turned = ""
}

// unheard records that the other daemon no longer reports.
func (s *links) unheard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(func(l *Link) { l.Hears = false })
}

// refused reports once that a connection to us was refused, for a reason that has this hint.
func (s *links) refused(addr net.Addr, err error) {
	from, _, _ := net.SplitHostPort(addr.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	hint := Hint(err)
	if text := from + hint; s.turned != text {
		s.turned = text
		s.log.Warn("peer refused", "from", from, "err", err, "hint", hint)
	}
}

// Hint says what to do about an error of a link.
func Hint(err error) string {
	var header tls.RecordHeaderError
	var version *versionError
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.Is(err, errKey), errors.As(err, &op) && op.Op == "remote error":
		return "both machines need the same --peer-key file; compare them with sha256sum"
	case errors.Is(err, errSelf):
		return "--peer is the address of the other machine"
	case errors.As(err, &version):
		return "upgrade the machine with the older version; two versions that follow one another speak with each other"
	case errors.As(err, &header), errors.Is(err, errFrame):
		return "what is at the other end is not pasvport; see --peer and --peer-listen on both machines"
	case errors.Is(err, unix.ECONNREFUSED):
		return "see whether pasvport runs on the other machine, and that its --peer-listen is this machine's --peer"
	case errors.Is(err, unix.EINVAL):
		return "see whether this machine has the interface that --peer names"
	case errors.Is(err, errSilent), errors.Is(err, errBehind):
		return "see the other machine's log, and its load"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return "see whether the link is up, and that both rulesets let this TCP port pass on it"
	}
	return "see the other machine's log"
}
