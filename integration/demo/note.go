// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"sync"
)

// Kinds of note.
const (
	noteReady  = "ready"  // server: the control port is open
	noteSent   = "sent"   // a line this end sent on the control connection
	noteHeard  = "heard"  // a line this end received on the control connection
	noteFile   = "file"   // a whole file as this end has it: Name, Size, Sum
	noteAsking = "asking" // client: waits for a line on standard input before it goes on
	noteFailed = "failed" // client: the transfer did not work, Text says why
	noteData   = "data"   // client: a data connection stands, Text names its ends
	noteKnock  = "knock"  // knock: Text is one of the knock results
)

// A note is what one part tells the show, one JSON object per line.
type note struct {
	Kind string `json:"kind"`
	Text string `json:"text,omitempty"`
	Name string `json:"name,omitempty"`
	Size int64  `json:"size,omitempty"` // bytes
	Sum  string `json:"sum,omitempty"`  // SHA-256, hexadecimal
}

// A notebook writes notes; it may be used from several goroutines.
type notebook struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newNotebook(w io.Writer) *notebook {
	return &notebook{enc: json.NewEncoder(w)}
}

// write writes one note. A reader that has gone away is no concern of the writer:
// the show ends its parts itself.
func (b *notebook) write(n note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.enc.Encode(n)
}

// A tap is a control connection whose lines are noted as they pass.
type tap struct {
	net.Conn
	book        *notebook
	heard, sent lines
}

func newTap(c net.Conn, book *notebook) *tap {
	return &tap{Conn: c, book: book}
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.heard.add(b[:n], func(line string) { t.book.write(note{Kind: noteHeard, Text: line}) })
	return n, err
}

func (t *tap) Write(b []byte) (int, error) {
	n, err := t.Conn.Write(b)
	t.sent.add(b[:n], func(line string) { t.book.write(note{Kind: noteSent, Text: line}) })
	return n, err
}

// lines cuts a stream of bytes into lines. One goroutine feeds it.
type lines struct{ rest []byte }

func (l *lines) add(b []byte, each func(line string)) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte{'\n'})
		if !found {
			return
		}
		each(string(bytes.TrimRight(line, "\r")))
		l.rest = rest
	}
}
