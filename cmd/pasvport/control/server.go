// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Source gives the answers. Its methods are called from any goroutine.
type Source interface {
	Status() Status
	Sessions() []Session
}

const (
	statusPath   = "/v1/status"
	sessionsPath = "/v1/sessions"
)

// Server answers on a control socket.
type Server struct {
	socket *socket
	http   http.Server
}

// Listen makes the socket. It replaces one that nobody answers any more; errors
// are ErrInUse when somebody does, ErrNotSocket when the path is something else,
// and those of the system.
func Listen(path string, src Source) (*Server, error) {
	sock, err := listen(path)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, src.Status()) })
	mux.HandleFunc("GET "+sessionsPath, func(w http.ResponseWriter, _ *http.Request) {
		sessions := src.Sessions()
		if sessions == nil {
			sessions = []Session{} // [] and not null
		}
		answer(w, sessions)
	})
	return &Server{
		socket: sock,
		http: http.Server{
			Handler:           mux,
			ReadHeaderTimeout: 5 * time.Second,
			WriteTimeout:      10 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    1 << 14,
		},
	}, nil
}

// Run answers until ctx ends, and returns nil then. The socket file is gone when
// it returns, if it was still ours.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_ = s.socket.remove() // its error is returned below
		_ = s.http.Close()
	})
	defer stop()
	err := s.http.Serve(s.socket.listener)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, s.socket.remove())
}

// Close takes the socket of a server away that never ran.
func (s *Server) Close() error {
	return errors.Join(s.socket.remove(), s.socket.listener.Close())
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// An error here is a client that has gone.
	_ = json.NewEncoder(w).Encode(v)
}
