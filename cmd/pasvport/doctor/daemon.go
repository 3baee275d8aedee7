// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/cmd/pasvport/tablelock"
	"github.com/pasvport/pasvport/rules"
)

// A daemon is one that runs with the table in question, and its answers.
type daemon struct {
	running  bool // a process has the table
	status   control.Status
	settings *config.Config // nil: it did not answer, see err
	err      error
}

// ask looks for a running daemon and asks it for its settings.
func ask(ctx context.Context, cfg config.Config) daemon {
	d := daemon{running: tablelock.Held(cfg.Table)}
	if !d.running || cfg.ControlSocket == "" {
		return d
	}
	c := control.NewClient(cfg.ControlSocket)
	if d.status, d.err = c.Status(ctx); d.err != nil {
		return d
	}
	if d.status.Table != cfg.Table {
		d.err = &otherTable{cfg.ControlSocket, d.status.Table, cfg.Table}
		return d
	}
	var e config.Exported
	if d.err = c.Settings(ctx, &e); d.err != nil {
		return d
	}
	settings, err := e.Config()
	if d.err = err; err == nil {
		settings.ControlSocket = cfg.ControlSocket
		d.settings = &settings
	}
	return d
}

// otherTable reports that the daemon on a socket has another table.
type otherTable struct{ socket, have, want string }

func (e *otherTable) Error() string {
	return fmt.Sprintf("the daemon that answers on %s has the table %s, not %s", e.socket, e.have, e.want)
}

// daemon reports on a running daemon, and on its table.
func (e *examination) daemon(q Question, d daemon, there bool) {
	e.running = d.running
	var other *otherTable
	switch {
	case !d.running && there:
		e.found(Warn, topicDaemon, fmt.Sprintf("table %s is there and no daemon has it: one crashed, or a saved ruleset was loaded", e.cfg.Table),
			"start the daemon, which replaces the table; or nft delete table inet "+e.cfg.Table)
	case !d.running:
		e.found(OK, topicDaemon, "no daemon is running with this table; what follows is said as if one were")
	case !there:
		e.found(Problem, topicDaemon, fmt.Sprintf("a daemon is running and its table %s is gone: the ruleset was flushed", e.cfg.Table),
			"a daemon puts it back on its own at once; if it stays away, its log says why")
	case e.cfg.ControlSocket == "":
		e.found(OK, topicDaemon, "a daemon is running with this table; without a control socket it cannot be asked")
	case errors.As(d.err, &other):
		e.found(Warn, topicDaemon, other.Error(), "give the flags or the file of the daemon that is meant")
	case d.err != nil:
		e.found(Warn, topicDaemon, fmt.Sprintf("a daemon is running and cannot be asked: %v", d.err))
	default:
		e.compare(q, d)
	}
}

// compare reports where the settings of a daemon differ from those that were
// asked about, and whether its table is intact.
func (e *examination) compare(q Question, d daemon) {
	s := d.status
	if differ := config.Examined(config.Changed(*d.settings, q.Config)); len(differ) > 0 {
		text := "the running daemon has " + difference(differ, *d.settings, q.Config)
		if q.Asked {
			e.found(Warn, topicDaemon, text+", as this examination", "without flags and --config the settings of the running daemon are examined; or restart the daemon with these")
		} else {
			e.found(Warn, topicDaemon, text+", as its file or the defaults", "this examination is of the daemon's; if the file is newer, reload or restart the daemon")
		}
	}
	complete, err := e.complete(e.installed(d))
	switch {
	case err != nil:
		e.found(Warn, topicDaemon, fmt.Sprintf("its table cannot be read: %v", err))
	case !complete:
		e.found(Problem, topicDaemon, fmt.Sprintf("a daemon is running (pid %d) and rules of it are missing", s.PID),
			"a daemon puts them back on its own at once; if they stay away, its log says why")
	default:
		e.found(OK, topicDaemon, fmt.Sprintf("a daemon is running (pid %d), its rules are complete; strategy %s, carrier %s", s.PID, s.Strategy, s.Carrier))
	}
	for _, q := range s.Queues {
		if q.Dropped > 0 {
			e.found(Warn, topicDaemon, fmt.Sprintf("queue %d lost %d packets", q.Num, q.Dropped), "more --queues, or fewer other programs on these cores")
		}
	}
}

// difference describes the settings in which a daemon differs.
func difference(names []string, has, asked config.Config) string {
	words := make([]string, len(names))
	for i, name := range names {
		have, want := has.Text(name), asked.Text(name)
		switch {
		case have == want: // no flag
			words[i] = "other " + name
		case name == "port":
			words[i] = fmt.Sprintf("ports %s and not %s", have, want)
		default:
			words[i] = fmt.Sprintf("%s %s and not %s", name, have, want)
		}
	}
	return strings.Join(words, ", ")
}

// installed is the description of a running daemon's table.
func (e *examination) installed(d daemon) rules.Config {
	c := d.settings.Rules()
	c.VirtualServers = balance.Rules(d.settings.VirtualServers)
	kernel.Running(d.status, d.settings.Strategy).Apply(&c)
	c.FastPath = 0
	if d.status.Features[string(kernel.FastPath)] {
		c.FastPath = rules.FastPathAny
	}
	return c
}

func tableComplete(c rules.Config) (bool, error) {
	f, err := rules.Open(c)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return f.Present()
}

// queues checks whether another process listens on one of our queue numbers.
func (e *examination) queues() {
	text, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil || e.running {
		return // with a daemon they are its own
	}
	for line := range strings.Lines(string(text)) {
		var num, port int
		if n, _ := fmt.Sscan(line, &num, &port); n != 2 || num < int(e.cfg.QueueNum) || num >= int(e.cfg.QueueNum)+e.cfg.Queues {
			continue
		}
		e.found(Problem, topicConflict, fmt.Sprintf("queue %d belongs to %s: the daemon could not start", num, process(port)),
			"give the daemon another --queue-num")
	}
}

// process names the owner of a netlink socket, whose port is usually its pid.
func process(port int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", port))
	if err != nil {
		return fmt.Sprintf("another process (netlink port %d)", port)
	}
	return fmt.Sprintf("another process (pid %d, %s)", port, strings.TrimSpace(string(name)))
}
