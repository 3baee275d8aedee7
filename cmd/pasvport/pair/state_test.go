// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLinks: the pair is up while each daemon receives the other one's reports;
// the reason of a failure is known, and reported once.
func TestLinks(t *testing.T) {
	var logs syncBuffer
	s := newLinks(slog.New(slog.NewTextHandler(&logs, nil)), "10.99.0.2:2121")
	refused := fmt.Errorf("dial: %w", unix.ECONNREFUSED)
	s.down(refused)
	s.down(refused)
	if l := s.get(); l.Up() || !errors.Is(l.Err, refused) {
		t.Errorf("%+v", l)
	}
	begun := s.get().Since
	s.up()
	if l := s.get(); l.Up() || !l.Tells || l.Since != begun {
		t.Errorf("half a link: %+v", l)
	}
	s.heard(3 * time.Second)
	up := s.get()
	if !up.Up() || up.Err != nil || !up.Since.After(begun) || up.Skew != 3*time.Second {
		t.Errorf("%+v", up)
	}
	s.unheard()
	s.down(errSilent)
	s.down(errSilent)
	if l := s.get(); l.Up() || l.Tells || l.Err != errSilent || !l.Since.After(up.Since) {
		t.Errorf("%+v", l)
	}
	from := &net.TCPAddr{IP: net.IPv4(10, 99, 0, 7), Port: 4000}
	s.refused(from, errKey)
	s.refused(&net.TCPAddr{IP: from.IP, Port: 4001}, errKey)
	for text, want := range map[string]int{"peer not reached": 1, "peer gone": 1, "peer connected": 1, "peer refused": 1, "sha256sum": 1, "hint=": 3} {
		if n := strings.Count(logs.String(), text); n != want {
			t.Errorf("%q is reported %d times, want %d:\n%s", text, n, want, logs.String())
		}
	}
}

// TestHint: each error has its own advice.
func TestHint(t *testing.T) {
	seen := map[string]error{}
	for _, err := range []error{
		errKey, errSelf, &versionError{}, tls.RecordHeaderError{}, fmt.Errorf("dial: %w", unix.ECONNREFUSED), errSilent, os.ErrDeadlineExceeded, unix.EINVAL,
		errors.New("anything else"),
	} {
		h := Hint(err)
		if before := seen[h]; h == "" || before != nil {
			t.Errorf("%v has the hint of %v: %q", err, before, h)
		}
		seen[h] = err
	}
	for err, as := range map[error]error{
		&net.OpError{Op: "remote error", Err: errors.New("bad certificate")}: errKey, unix.EHOSTUNREACH: os.ErrDeadlineExceeded,
		errBehind: errSilent,
	} {
		if Hint(err) != Hint(as) {
			t.Errorf("%v: %q", err, Hint(err))
		}
	}
}

// TestTakeOver: sessions that become live in one go are one take-over.
func TestTakeOver(t *testing.T) {
	var logs syncBuffer
	o := takeOvers{log: slog.New(slog.NewTextHandler(&logs, nil))}
	begun := time.Now()
	for i := range 5 {
		o.count(begun.Add(time.Duration(i) * time.Millisecond))
	}
	if last, all := o.get(); last != (TakeOver{begun, 4 * time.Millisecond, 5}) || all != 5 {
		t.Errorf("%+v, %d in all", last, all)
	}
	later := begun.Add(burst + 5*time.Millisecond)
	o.count(later)
	if last, all := o.get(); last != (TakeOver{later, 0, 1}) || all != 6 {
		t.Errorf("%+v, %d in all", last, all)
	}
	eventually(t, "it is said", func() bool { return strings.Contains(logs.String(), "sessions of the peer taken over") })
}
