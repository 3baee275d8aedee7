// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// logPause is between two rounds of writing, so that lines that are logged in
	// quick succession are written with one system call. It grows to longLogPause
	// while each round has more than fewLines.
	logPause     = time.Millisecond
	longLogPause = 10 * time.Millisecond
	fewLines     = 8
	// maxLogQueue is how many records may wait for a slow reader.
	maxLogQueue = 8192
)

// logQueue writes log lines from a goroutine of its own: a goroutine that logs
// while a packet waits must not wait for whoever reads the log.
type logQueue struct {
	to   io.Writer
	out  *bufio.Writer // leads to it
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	records []queuedRecord
	lost    int
	closed  bool
}

type queuedRecord struct {
	handler slog.Handler
	record  slog.Record
}

// newLogQueue returns a queue for handlers that write to its out, which leads to
// w.
func newLogQueue(w io.Writer) *logQueue {
	q := &logQueue{to: w, out: bufio.NewWriterSize(w, 1<<16), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// logPatience is how long a stop waits for the reader of the log.
const logPatience = time.Second

// close returns when everything is written, or when no one has read it for a
// while. What is logged later is lost.
func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.touch()
	select {
	case <-q.done:
	case <-time.After(logPatience):
	}
}

func (q *logQueue) touch() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *logQueue) add(h slog.Handler, r slog.Record) {
	q.mu.Lock()
	if len(q.records) < maxLogQueue {
		q.records = append(q.records, queuedRecord{h, r.Clone()})
	} else {
		q.lost++
	}
	q.mu.Unlock()
	q.touch()
}

func (q *logQueue) run() {
	defer close(q.done)
	var list []queuedRecord
	pause := logPause
	for range q.wake {
		var lost int
		var closed bool
		q.mu.Lock()
		list, q.records = q.records, list[:0]
		lost, q.lost, closed = q.lost, 0, q.closed
		q.mu.Unlock()
		for _, r := range list {
			_ = r.handler.Handle(context.Background(), r.record)
		}
		if lost > 0 { // and so the list was full
			_ = list[len(list)-1].handler.Handle(context.Background(), lostRecord(lost))
		}
		clear(list) // keep nothing alive
		if q.out.Flush() != nil {
			q.out.Reset(q.to) // otherwise it would write nothing any more; a disk may have room again
		}
		if closed {
			return
		}
		if pause = min(2*pause, longLogPause); len(list) <= fewLines {
			pause = logPause
		}
		time.Sleep(pause)
	}
}

// lostRecord reports that n records found the queue full.
func lostRecord(n int) slog.Record {
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were lost", 0)
	r.Add("lines", n, "hint", "whoever reads the log is too slow")
	return r
}

// queueHandler is a slog.Handler that makes another one handle records later.
type queueHandler struct {
	queue *logQueue
	slog.Handler
}

// Handle implements slog.Handler.
func (h queueHandler) Handle(_ context.Context, r slog.Record) error {
	h.queue.add(h.Handler, r)
	return nil
}

// WithAttrs implements slog.Handler.
func (h queueHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return queueHandler{h.queue, h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h queueHandler) WithGroup(name string) slog.Handler {
	return queueHandler{h.queue, h.Handler.WithGroup(name)}
}
