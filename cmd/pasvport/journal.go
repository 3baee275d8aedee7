// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
)

// newTextHandler writes lines of key=value to out, which leads to w. If w is
// standard error and that leads to the journal, records are sent there by its own
// protocol instead, with each attribute as a field that journalctl can match.
func newTextHandler(w, out io.Writer, opts *slog.HandlerOptions) slog.Handler {
	text := slog.NewTextHandler(out, opts)
	if w != os.Stderr {
		return text
	}
	if is, err := journal.StderrIsJournalStream(); err != nil || !is {
		return text
	}
	return newJournalHandler(text, opts.Level, journal.Send)
}

// sendFunc is journal.Send.
type sendFunc func(message string, p journal.Priority, fields map[string]string) error

// journalHandler sends records to the journal. A record's MESSAGE is the line
// that standard error would get, without what the journal has itself: the time
// and the level. PASVPORT_EVENT is the record's message alone, and its attributes
// are the fields PASVPORT_KEY; a port is in a field of its own, so that one
// client can be selected whatever its port is.
type journalHandler struct {
	slog.Handler // of standard error: for what cannot be sent
	send         sendFunc
	line         slog.Handler // writes into buffer
	buffer       *lockedBuffer
	group        string // prefix of the keys to come
	fields       []slog.Attr
}

// lockedBuffer holds one line at a time.
type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func newJournalHandler(text slog.Handler, level slog.Leveler, send sendFunc) *journalHandler {
	buffer := &lockedBuffer{}
	line := slog.NewTextHandler(buffer, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}})
	return &journalHandler{Handler: text, send: send, line: line, buffer: buffer}
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "pasvport", "PASVPORT_EVENT": r.Message}
	for _, a := range h.fields {
		addField(fields, "", a)
	}
	r.Attrs(func(a slog.Attr) bool {
		addField(fields, h.group, a)
		return true
	})
	message, err := h.text(ctx, r)
	if err == nil {
		err = h.send(message, priority(r.Level), fields)
	}
	if err != nil { // journald may be restarting
		return h.Handler.Handle(ctx, r)
	}
	return nil
}

func (h *journalHandler) text(ctx context.Context, r slog.Record) (string, error) {
	h.buffer.Lock()
	defer h.buffer.Unlock()
	h.buffer.Reset()
	err := h.line.Handle(ctx, r)
	return strings.TrimSuffix(h.buffer.String(), "\n"), err
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.Handler, c.line = h.Handler.WithAttrs(attrs), h.line.WithAttrs(attrs)
	c.fields = slices.Clone(h.fields)
	for _, a := range attrs {
		c.fields = append(c.fields, slog.Attr{Key: h.group + a.Key, Value: a.Value})
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.Handler, c.line = h.Handler.WithGroup(name), h.line.WithGroup(name)
	if name != "" {
		c.group = h.group + name + "_"
	}
	return &c
}

// addField adds an attribute, or those of a group.
func addField(fields map[string]string, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if end, ok := v.Any().(netip.AddrPort); ok && end.IsValid() {
		fields[fieldName(prefix+a.Key)] = end.Addr().String()
		fields[fieldName(prefix+a.Key+"_port")] = strconv.Itoa(int(end.Port()))
		return
	}
	if v.Kind() != slog.KindGroup {
		fields[fieldName(prefix+a.Key)] = v.String()
		return
	}
	if a.Key != "" {
		prefix += a.Key + "_"
	}
	for _, member := range v.Group() {
		addField(fields, prefix, member)
	}
}

// fieldName is a key in the characters that the journal allows
// (journal_field_valid in systemd's journal-file-util.c).
func fieldName(key string) string {
	return "PASVPORT_" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
