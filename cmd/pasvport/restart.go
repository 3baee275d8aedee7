// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/gateway"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
)

// turn is this daemon's, between the previous and the next one. A restart is a
// stop by SIGUSR1: another daemon will start at once, and nothing may be lost or
// pass unread until then. Our rules stay, and the sockets of the queues are kept
// open, so that packets wait in the kernel meanwhile. systemd sends the signal
// (RestartKillSignal=), which tells a restart from a stop, and keeps the sockets
// (FileDescriptorStoreMax=). Without systemd the next daemon takes them from this
// one, which waits for it for turnTime, and then stops.
type turn struct {
	cfg     config.Config
	before  succession.Queues
	restart chan os.Signal
	done    chan struct{}
	ended   chan struct{} // closed when the goroutine of listen has ended; nil: there is none
	next    net.Conn      // the next daemon begins when it is closed
}

// turnTime is how long packets may wait for the next daemon.
const turnTime = 2 * time.Second

func newTurn(cfg config.Config) *turn {
	return &turn{cfg: cfg, restart: make(chan os.Signal, 1), done: make(chan struct{})}
}

// over takes over what a daemon that is being restarted hands on.
func (t *turn) over(log *slog.Logger) succession.Queues {
	if t.before = succession.FromSystemd(); len(t.before) > 0 {
		return t.before
	}
	path, err := t.path()
	if err == nil {
		t.before, err = succession.Fetch(path, turnTime)
	}
	if err != nil {
		log.Warn("not taken over from the daemon before", "err", err)
	}
	return t.before
}

// listen makes SIGUSR1 end the daemon by stop, so that it hands over.
func (t *turn) listen(g *gateway.Gateway, stop func()) {
	signal.Notify(t.restart, unix.SIGUSR1)
	t.ended = make(chan struct{})
	go func() {
		defer close(t.ended)
		select {
		case <-t.restart:
			g.Restart(t.handOver)
			stop()
		case <-t.done:
		}
	}()
}

// handOver passes the queues to systemd, or to the daemon that asks for them. It calls
// waits when the next one finds them.
func (t *turn) handOver(q succession.Queues, waits func()) error {
	err := succession.ToSystemd(q, turnTime)
	if err == nil {
		waits()
	}
	if !errors.Is(err, succession.ErrNoSystemd) {
		return err
	}
	path, err := t.path()
	if err == nil {
		t.next, err = succession.Pass(path, q, turnTime, waits)
	}
	return err
}

// end is the last step: the next daemon may have everything that was ours.
func (t *turn) end() {
	signal.Stop(t.restart)
	close(t.done)
	if t.ended != nil {
		<-t.ended
	}
	t.before.Close() // those that were not used
	if t.next != nil {
		t.next.Close()
	}
}

// path is the socket of a daemon that is being restarted.
func (t *turn) path() (string, error) {
	path, err := succession.Path(filepath.Dir(cmp.Or(t.cfg.ControlSocket, config.DefaultControlSocket)), t.cfg.Table)
	return strings.TrimSuffix(path, ".handover") + ".restart", err
}
