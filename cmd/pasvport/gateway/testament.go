// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// testament is what this daemon leaves to the next, and what it finds of the
// previous one.
type testament struct {
	*services
	registry *registry
}

// path is where a daemon leaves its hand-over: next to its control socket.
func (t *testament) path() (string, error) { return t.in(t.runDir()) }

// in is the hand-over in a directory.
func (t *testament) in(dir string) (string, error) { return succession.Path(dir, t.cfg.Table) }

func (t *testament) runDir() string {
	return filepath.Dir(cmp.Or(t.cfg.ControlSocket, config.DefaultControlSocket))
}

// drainedDir is where drained servers are recorded: systemd's state directory of
// the unit, as that of the control socket is removed at a stop.
func (t *testament) drainedDir() string {
	state, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
	return cmp.Or(state, t.runDir())
}

// read reads what an earlier daemon handed over, and drains the servers that it
// had drained.
func (t *testament) read() legacy {
	left := t.readIn(t.runDir())
	if dir := t.drainedDir(); dir != t.runDir() {
		left.Drained = append(left.Drained, t.readIn(dir).Drained...)
	}
	for _, name := range left.Drained {
		if err := t.balancer.Drain(name, true); err != nil {
			t.log.Warn("a server that was drained is not there any more", "server", name)
		}
	}
	return newLegacy(left.Records)
}

func (t *testament) readIn(dir string) (left succession.Estate) {
	path, err := t.in(dir)
	if err == nil {
		left, err = succession.Read(path, time.Now())
	}
	if err != nil {
		t.log.Warn("not taken over from the daemon before", "err", err)
	}
	return left
}

// write leaves what the next daemon has to know, and returns how many pinholes
// that hands over. The workers have ended.
func (t *testament) write() int {
	now := time.Now()
	open := succession.Estate{Records: t.records(now)}
	drained := succession.Estate{Drained: t.balancer.Drained()}
	dir := t.drainedDir()
	if dir == t.runDir() {
		open.Drained, drained.Drained = drained.Drained, nil
	}
	if err := t.writeIn(dir, drained, now); err != nil {
		t.log.Warn("the next daemon cannot be told which servers are drained", "err", err)
	}
	if err := t.writeIn(t.runDir(), open, now); err != nil {
		t.log.Warn("the next daemon cannot be told what is open", "err", err,
			"hint", "what was announced and not used yet does not work after a restart")
		return 0
	}
	return len(t.pinholes.All())
}

func (t *testament) writeIn(dir string, e succession.Estate, now time.Time) error {
	path, err := t.in(dir)
	if err != nil {
		return err
	}
	return succession.Write(path, e, now)
}

// records returns what the next daemon has to know and cannot find in the kernel.
func (t *testament) records(now time.Time) (records []succession.Record) {
	pinholes := map[*pinhole.Owner][]succession.Pinhole{}
	add := func(p *pinhole.Pinhole, data *expect.Tuple) {
		pinholes[p.Owner] = append(pinholes[p.Owner], handed(p, data, now))
	}
	for _, p := range t.pinholes.All() {
		add(p, nil)
	}
	t.pinholes.Data.EachRule(func(data expect.Tuple, p *pinhole.Pinhole) { add(p, &data) })
	var work ftpalg.Workspace
	for _, s := range t.registry.all() {
		if data, p := t.pinholes.Data.Lost(&s.Owner); p != nil {
			add(p, &data)
		}
		r := s.Acquire(&work)
		if r == nil { // its connection continues in another session
			continue
		}
		rec, ok := r.Record(pinholes[&s.Owner], new(ftpalg.State))
		if rec.Told = s.Pair.Stamp(); ok || rec.Told != nil {
			records = append(records, rec)
		}
		r.Release()
	}
	return records
}

// handed is a pinhole in the form in which it is handed over.
func handed(p *pinhole.Pinhole, data *expect.Tuple, now time.Time) succession.Pinhole {
	return succession.Pinhole{
		Active: p.Mode == ftpalg.Active, Source: p.Source, Public: p.Public, Target: p.Target,
		NAT: p.NAT, Port: p.Port, Left: p.Until().Sub(now), Way: p.Way(), Data: (*succession.Tuple)(data),
	}
}
