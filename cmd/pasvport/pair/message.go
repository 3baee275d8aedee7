// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// A frame is a length (a varint), a byte with the kind of the message, and the
// message, which has that length. Bytes after the fields of a message, and
// unknown kinds, come from a newer version: both are skipped.

// kind is the kind of a message.
type kind byte

const (
	// kindHello is the first message in either direction: the versions that its
	// sender speaks, and its identity.
	kindHello kind = 1 + iota
	// kindRecord has what its sender knows of a session.
	kindRecord
	// kindEnded reports that a session has ended.
	kindEnded
	// kindAsk requests an acknowledgement of everything before it.
	kindAsk
	// kindAck acknowledges that many messages of kindAsk.
	kindAck
	// kindAll reports that everything was sent that was known when the link came
	// up.
	kindAll
	// kindReturned is kindRecord of a session whose last packets the receiver
	// saw, as far as its sender knows.
	kindReturned
)

const (
	// version is the highest supported version, oldest the lowest. Two versions
	// that differ by one can talk to each other.
	version = 1
	oldest  = 1
)

// maxFrame is the maximum length of a message.
const maxFrame = 64 << 10

// hello is the message of kindHello.
type hello struct {
	oldest, version uint64
	instance        [16]byte // of the daemon; different after each start
	clock           uint64   // Unix milliseconds when sent; 0: unknown
}

// skew is by how much the clock of the sender is ahead, as far as that is known.
func (h hello) skew(now time.Time) time.Duration {
	if h.clock == 0 {
		return 0
	}
	return time.UnixMilli(int64(h.clock)).Sub(now)
}

// common is the version that both ends use.
func common(a, b hello) (uint64, error) {
	v := min(a.version, b.version)
	if v < a.oldest || v < b.oldest {
		return 0, &versionError{a, b}
	}
	return v, nil
}

// versionError reports that two daemons have no version in common.
type versionError struct{ mine, theirs hello }

func (e *versionError) Error() string {
	return fmt.Sprintf("the other daemon speaks versions %d to %d, this one %d to %d",
		e.theirs.oldest, e.theirs.version, e.mine.oldest, e.mine.version)
}

// stamp is the age of what is known of a session.
type stamp struct {
	gen uint64 // of its owner
	seq uint64 // of what its owner has sent
}

// newer reports whether a is newer than b.
func (a stamp) newer(b stamp) bool { return a.gen > b.gen || a.gen == b.gen && a.seq > b.seq }

var errFrame = errors.New("not a message of a daemon")

// appendFrame appends a message of a kind.
func appendFrame(b []byte, k kind, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b = binary.AppendUvarint(b, uint64(n))
	b = append(b, byte(k))
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// readFrame reads a message into buf, which grows.
func readFrame(r *bufio.Reader, buf []byte) (kind, []byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, nil, err
	}
	if n > maxFrame {
		return 0, nil, fmt.Errorf("%w: %d bytes", errFrame, n)
	}
	k, err := r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err = io.ReadFull(r, buf)
	return kind(k), buf, err
}

func appendHello(b []byte, h hello) []byte {
	b = binary.AppendUvarint(b, h.oldest)
	b = binary.AppendUvarint(b, h.version)
	b = append(b, h.instance[:]...)
	return binary.AppendUvarint(b, h.clock)
}

func parseHello(b []byte) (h hello, err error) {
	h.oldest, b, err = cutUvarint(b)
	if err == nil {
		h.version, b, err = cutUvarint(b)
	}
	if err != nil {
		return h, err
	}
	if len(b) < len(h.instance) {
		return h, errFrame
	}
	if b = b[copy(h.instance[:], b):]; len(b) > 0 {
		h.clock, _, err = cutUvarint(b)
	}
	return h, err
}

func cutUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errFrame
	}
	return v, b[n:], nil
}

func (s stamp) append(b []byte) []byte {
	b = binary.AppendUvarint(b, s.gen)
	return binary.AppendUvarint(b, s.seq)
}

func cutStamp(b []byte) (s stamp, rest []byte, err error) {
	s.gen, rest, err = cutUvarint(b)
	if err == nil {
		s.seq, rest, err = cutUvarint(rest)
	}
	return s, rest, err
}

// parseRecord reads a message of kindRecord or kindReturned, or of kindEnded: that is a record with
// nothing but the tuples. What else a record has is read when its session becomes live.
func parseRecord(b []byte) (s stamp, original, reply expect.Tuple, raw []byte, err error) {
	if s, raw, err = cutStamp(b); err == nil {
		original, reply, err = succession.ParseTuples(raw)
	}
	return s, original, reply, raw, err
}
