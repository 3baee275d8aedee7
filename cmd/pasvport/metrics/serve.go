// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler answers in the text format of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// The limits of the listener: a scrape is one short request, and a client that
// holds more connections than this, or holds one for longer, does not scrape.
const (
	mostScrapes   = 16
	headerTime    = 5 * time.Second
	scrapeTime    = 10 * time.Second
	idleTime      = 30 * time.Second
	mostHeaderLen = 8 << 10
)

// home is the answer to a browser that requests the address alone.
const home = `<!doctype html><html lang="en"><title>pasvport</title><h1>pasvport</h1><p><a href="/metrics">Metrics</a></p></html>
`

// Serve answers GET /metrics on ln, and GET / with a link to it, until ctx ends, and then closes it. It
// returns nil when ctx ends.
func (m *Metrics) Serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, home) // an error is a client that has gone
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: headerTime, ReadTimeout: scrapeTime, WriteTimeout: scrapeTime,
		IdleTimeout: idleTime, MaxHeaderBytes: mostHeaderLen}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(newBounded(ln)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bounded is a listener of which no more than mostScrapes connections are open at
// once. It closes further ones at once: those that waited would be answered when
// no one waits any more.
type bounded struct {
	net.Listener
	room chan struct{}
}

func newBounded(ln net.Listener) *bounded {
	return &bounded{Listener: ln, room: make(chan struct{}, mostScrapes)}
}

// Accept returns the next connection for which there is room.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.room <- struct{}{}:
			return &boundedConn{Conn: c, done: func() { <-b.room }}, nil
		default:
			c.Close()
		}
	}
}

// boundedConn is a connection that makes room when it is closed.
type boundedConn struct {
	net.Conn
	once sync.Once
	done func()
}

// Close closes the connection.
func (s *boundedConn) Close() error {
	err := s.Conn.Close()
	s.once.Do(s.done)
	return err
}
