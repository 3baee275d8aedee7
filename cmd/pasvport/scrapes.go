// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
)

// listenAgain is how long a metrics address that cannot be had is left alone.
const listenAgain = 5 * time.Second

// scrapes is the listener of the metrics. FTP does not depend on it: an address that
// somebody else has, or that no interface has yet, is asked for until it can be had.
type scrapes struct {
	addr    string
	log     *slog.Logger
	ln      net.Listener
	problem atomic.Pointer[string] // of the last try; nil if there was none
}

// listen tries once. Its error is for an address that no machine can listen on.
func (s *scrapes) listen() (err error) {
	if s.addr == "" {
		return nil
	}
	s.ln, err = net.Listen("tcp", s.addr)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("--metrics %q: %w", s.addr, err)
	}
	if err == nil {
		s.problem.Store(nil)
		s.log.Info("metrics", "address", s.ln.Addr().String())
		return nil
	}
	text := err.Error()
	if s.problem.Swap(&text) == nil {
		s.log.Error("no metrics", "err", err, "hint", "the address is tried again until it can be had; FTP does not need it")
	}
	return nil
}

// serve answers until ctx ends.
func (s *scrapes) serve(ctx context.Context, m *metrics.Metrics) {
	tick := time.NewTicker(listenAgain)
	defer tick.Stop()
	for s.addr != "" {
		if s.ln != nil {
			logEnd(s.log, "metrics", m.Serve(ctx, s.ln))
			s.ln = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		logEnd(s.log, "metrics", s.listen())
	}
}

// close is for a listener that was not served.
func (s *scrapes) close() error {
	if s.ln == nil {
		return nil
	}
	return s.ln.Close()
}

// notes are what status says about it.
func (s *scrapes) notes() []string {
	if p := s.problem.Load(); p != nil {
		return []string{fmt.Sprintf("no metrics on %s: %s; tried again every %v", s.addr, *p, listenAgain)}
	}
	return nil
}
