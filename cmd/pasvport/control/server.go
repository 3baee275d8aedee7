// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

// Source gives the answers. Its methods are called from any goroutine.
type Source interface {
	Status() Status
	Sessions() []Session
	Servers() []Server
	// Settings are the current settings, in the form for JSON.
	Settings() any
	Events() *report.Stream
	// Drain drains a server, or puts it back. An error is for the caller.
	Drain(name string, drain bool) error
	// End resets both ends of a session. An error is for the caller.
	End(id uint64) error
	// Unblock lifts the block of a client. An error is for the caller.
	Unblock(client netip.Addr) error
	// Reload reads the configuration again. An error, a *FileError if the file is
	// invalid, says what is wrong with it.
	Reload(ctx context.Context) error
}

const (
	statusPath   = "/v1/status"
	sessionsPath = "/v1/sessions"
	serversPath  = "/v1/servers"
	settingsPath = "/v1/settings"
	drainPath    = "/v1/servers/drain"
	reloadPath   = "/v1/reload"
	blockedPath  = "/v1/blocked"
)

// Listener answers on a control socket.
type Listener struct {
	socket *socket
	http   http.Server
}

// Listen makes the socket. It replaces one on which no one answers any more;
// errors are ErrInUse if someone does, ErrNotSocket if the path is something
// else, and those of the system.
func Listen(path string, src Source) (*Listener, error) {
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
	mux.HandleFunc("DELETE "+sessionsPath, func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseUint(r.FormValue("id"), 10, 64)
		if err == nil {
			err = src.End(id)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		}
	})
	mux.HandleFunc("GET "+serversPath, func(w http.ResponseWriter, _ *http.Request) {
		servers := src.Servers()
		if servers == nil {
			servers = []Server{}
		}
		answer(w, servers)
	})
	mux.HandleFunc("GET "+settingsPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, src.Settings()) })
	mux.HandleFunc("GET "+eventsPath, func(w http.ResponseWriter, r *http.Request) { answerEvents(w, r, src.Events()) })
	for method, drain := range map[string]bool{http.MethodPut: true, http.MethodDelete: false} {
		mux.HandleFunc(method+" "+drainPath, func(w http.ResponseWriter, r *http.Request) {
			refuse(w, src.Drain(r.FormValue("name"), drain))
		})
	}
	mux.HandleFunc("DELETE "+blockedPath, func(w http.ResponseWriter, r *http.Request) {
		client, err := netip.ParseAddr(r.FormValue("client"))
		if err == nil {
			err = src.Unblock(client)
		}
		refuse(w, err)
	})
	mux.HandleFunc("POST "+reloadPath, func(w http.ResponseWriter, r *http.Request) { refuse(w, src.Reload(r.Context())) })
	return &Listener{
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

// Run answers until ctx ends, and then returns nil. It removes the socket file,
// if that is still ours.
func (s *Listener) Run(ctx context.Context) error {
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

// Close removes the socket of a server that never ran.
func (s *Listener) Close() error {
	return errors.Join(s.socket.remove(), s.socket.listener.Close())
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// An error here is a client that has gone.
	_ = json.NewEncoder(w).Encode(v)
}

// refuse answers with the error of a request, if any.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusUnprocessableEntity
	if invalid := new(FileError); errors.As(err, &invalid) {
		code = http.StatusBadRequest
	}
	if err != nil {
		http.Error(w, err.Error(), code)
	}
}
