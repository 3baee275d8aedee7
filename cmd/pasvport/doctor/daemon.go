// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/tablelock"
	"github.com/pasvport/pasvport/rules"
)

// daemon looks for a running daemon and its table.
func (e *examination) daemon(ctx context.Context) {
	e.running = tableLocked(e.cfg.Table)
	there := e.set.Ours(rules.FamilyINet, e.cfg.Table)
	if !e.running {
		if there {
			e.found(Warn, topicDaemon, fmt.Sprintf("table %s is there and no daemon has it: one crashed, or a saved ruleset was loaded", e.cfg.Table),
				"start the daemon, which replaces the table; or nft delete table inet "+e.cfg.Table)
			return
		}
		e.found(OK, topicDaemon, "no daemon is running with this table; what follows is said as if one were")
		return
	}
	if !there {
		e.found(Problem, topicDaemon, fmt.Sprintf("a daemon is running and its table %s is gone: somebody flushed the ruleset", e.cfg.Table),
			"a daemon puts it back by itself at once; if it stays away, its log says why")
		return
	}
	if e.cfg.ControlSocket == "" {
		e.found(OK, topicDaemon, "a daemon is running with this table; without a control socket it cannot be asked")
		return
	}
	status, err := control.NewClient(e.cfg.ControlSocket).Status(ctx)
	if err != nil {
		e.found(Warn, topicDaemon, fmt.Sprintf("a daemon is running and cannot be asked: %v", err))
		return
	}
	if status.Table != e.cfg.Table {
		e.found(Warn, topicDaemon, fmt.Sprintf("the daemon that answers on %s has the table %s, not %s", e.cfg.ControlSocket, status.Table, e.cfg.Table),
			"give the flags or the file of the daemon that is meant")
		return
	}
	e.compare(status)
}

// compare holds what a daemon says against what was asked about, and its table
// against what it should hold.
func (e *examination) compare(s control.Status) {
	if ports := strings.Join(s.Ports, ","); ports != strings.Join(e.cfg.PortList(), ",") || s.Allow != e.cfg.AllowText() {
		e.found(Warn, topicDaemon, fmt.Sprintf("the running daemon has ports %s and allow %s, this examination ports %s and allow %s",
			ports, s.Allow, strings.Join(e.cfg.PortList(), ","), e.cfg.AllowText()), "give doctor the same flags, or restart the daemon with the new file")
		return
	}
	complete, err := tableComplete(e.installed(s))
	switch {
	case err != nil:
		e.found(Warn, topicDaemon, fmt.Sprintf("its table cannot be read: %v", err))
	case !complete:
		e.found(Problem, topicDaemon, fmt.Sprintf("a daemon is running (pid %d) and rules of it are missing", s.PID),
			"a daemon puts them back by itself at once; if they stay away, its log says why")
	default:
		e.found(OK, topicDaemon, fmt.Sprintf("a daemon is running (pid %d), its rules are complete; strategy %s, carrier %s", s.PID, s.Strategy, s.Carrier))
	}
	for _, q := range s.Queues {
		if q.Dropped > 0 {
			e.found(Warn, topicDaemon, fmt.Sprintf("queue %d lost %d packets", q.Num, q.Dropped), "more --queues, or fewer other programs on these cores")
		}
	}
}

// installed is the description of the table that a daemon says it has.
func (e *examination) installed(s control.Status) rules.Config {
	c := e.rules
	c.Queues = len(s.Queues)
	c.Carrier = rules.ParseCarrier(s.Carrier)
	c.Claim = s.Strategy == string(config.StrategyClaim) || e.cfg.Strategy == config.StrategyAuto && s.Features["claim"]
	c.OneZone = !s.Features["zones"]
	c.Queue = rules.QueueNative
	c.FastPath = 0
	if s.Features["fast-path"] {
		c.FastPath = rules.FastPathAny
	}
	if s.QueueKind == "xt" {
		c.Queue = rules.QueueXT
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

// tableLocked reports whether a process has the lock of a table.
func tableLocked(table string) bool {
	text, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil {
		return false
	}
	lock := strconv.Itoa(int(tablelock.Queue(table)))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == lock {
			return true
		}
	}
	return false
}

// queues looks whether somebody else listens on one of our queue numbers.
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

// process names the owner of a netlink socket, whose number is mostly its pid.
func process(port int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", port))
	if err != nil {
		return fmt.Sprintf("another process (netlink port %d)", port)
	}
	return fmt.Sprintf("another process (pid %d, %s)", port, strings.TrimSpace(string(name)))
}
