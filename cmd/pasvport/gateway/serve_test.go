// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// served is a gateway of a bench that serves.
type served struct {
	*bench
	stop  context.CancelFunc
	ended chan error
}

// serve makes the gateway of a bench serve, in a bubble, and waits until it is
// ready or has ended.
func (b *bench) serve() *served {
	ctx, stop := context.WithCancel(b.t.Context())
	s := &served{b, stop, make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		s.ended <- b.g.serve(ctx, func() { b.k.step("ready"); close(ready) })
	}()
	synctest.Wait()
	return s
}

// end stops it, and returns what serve did.
func (s *served) end() error {
	s.stop()
	return <-s.ended
}

// inOrder fails the test unless these steps were taken, one after the other.
func (b *bench) inOrder(steps ...string) {
	b.t.Helper()
	rest := b.k.steps
	for _, step := range steps {
		i := slices.Index(rest, step)
		if i < 0 {
			b.t.Errorf("%q is not one of the steps, or before %q: %q", step, steps, b.k.steps)
			return
		}
		rest = rest[i+1:]
	}
}

// serveDir gives the daemon a directory of its own to hand over in.
func serveDir(t *testing.T) func(*config.Config) {
	dir := t.TempDir()
	return func(c *config.Config) { c.ControlSocket = filepath.Join(dir, "control.sock") }
}

// TestServe: a daemon from its start to its stop. The rules are installed before
// the workers start, and removed before these end; what is open goes to the next
// one, which opens it once its rules are installed.
func TestServe(t *testing.T) {
	edit := serveDir(t)
	kernel := newKernel()
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOn(t, kernel, newBench(t, edit).cfg)
		s := b.serve()
		b.inOrder("install", "remove leftovers", "serve")
		b.inOrder("install", "ready")
		b.logs("msg=ready", "ports=21")
		b.logs(`msg="tables of an earlier daemon removed"`, "tables=[old]")
		l := b.announced(plainEntry(1))
		b.ev.come <- expect.Event{Type: expect.Update, Entry: *l.entry}
		synctest.Wait()
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
		b.inOrder("ready", "remove", "not served", "not watched")
		if len(b.k.elements) != 0 || len(b.pinholes.All()) != 0 {
			t.Errorf("open after the stop: %v", b.k.elements)
		}
		b.logs("msg=stopping", "sessions=1", "pinholes=1")
		b.logs(`msg="pinhole closed"`, `cause="the daemon stops"`)
		b.logs(`msg="stopped: 1 pinholes handed over"`)
	})
	synctest.Test(t, func(t *testing.T) {
		kernel.noTable, kernel.steps = true, nil // the previous daemon removed it
		next := newBenchOn(t, kernel, newBench(t, edit).cfg)
		s := next.serve()
		next.inOrder("install", "open", "serve")
		next.logs(`msg="taken back"`, "sessions=1", "pinholes=1")
		if len(kernel.elements) != 1 || kernel.elements[0].Dest != ap("203.0.113.1:50000") {
			t.Errorf("open: %v", kernel.elements)
		}
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestServeRestart: in a planned restart the rules and what is open stay, and the
// next daemon has the queues. If none takes them, this is a stop.
func TestServeRestart(t *testing.T) {
	for name, refuses := range map[string]error{"taken": nil, "not taken": errBroken} {
		t.Run(name, func(t *testing.T) {
			edit := serveDir(t)
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, edit)
				s := b.serve()
				b.announced(plainEntry(1))
				b.ev.late = []expect.Event{{Type: expect.Destroy, Entry: plainEntry(9)}}
				b.k.left[9] = "alone"
				var queues []uint16
				b.g.Restart(func(q succession.Queues, waits func()) error {
					const line = `msg="waiting for the next daemon"`
					if b.log.has(line) {
						t.Error("it logs that it waits, and the next one would not find it")
					}
					waits()
					b.logs(line)
					if b.k.left[9] != "" {
						t.Error("an event that has come is not handled before")
					}
					for num := range q {
						queues = append(queues, num)
					}
					return refuses
				})
				if err := s.end(); err != nil {
					t.Fatal(err)
				}
				b.inOrder("ready", "not served", "not watched")
				if !slices.Equal(queues, []uint16{40000}) {
					t.Errorf("handed on: %v", queues)
				}
				if stays := !slices.Contains(b.k.steps, "remove"); stays != (refuses == nil) || stays != (len(b.k.elements) == 1) {
					t.Errorf("the rules stay: %v, open: %v", stays, b.k.elements)
				}
				b.logs(map[bool]string{true: `msg="handed over to the next daemon"`, false: `msg="not handed over to another daemon"`}[refuses == nil])
			})
		})
	}
}

// TestServeFails: a daemon that ends on an error of its own removes its rules.
func TestServeFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(*bench)
		then func(*bench)
		want error
	}{
		{"the rules cannot be installed", func(b *bench) { b.k.fails["install"] = errBroken }, nil, errBroken},
		{"the events end", nil, func(b *bench) { b.ev.come <- expect.Event{} }, errBroken},
		{"the rules stay", func(b *bench) { b.k.fails["remove"] = errBroken }, nil, errBroken},
		{"nothing", nil, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edit := serveDir(t)
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, edit)
				if tt.fail != nil {
					tt.fail(b)
				}
				s := b.serve()
				if tt.then != nil {
					tt.then(b)
				}
				synctest.Wait()
				if err := s.end(); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
				b.inOrder("install", "remove")
				ready := slices.Contains(b.k.steps, "ready")
				if installed := b.k.fails["install"] == nil; ready != installed {
					t.Errorf("ready: %v", ready)
				}
				if b.log.has("stopped: ") != (tt.want == nil) {
					t.Error("it must report that it stopped if and only if there is no error")
				}
			})
		})
	}
}

// TestRemoveRules: a nat chain of ours stays as long as something translated
// continues without us.
func TestRemoveRules(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*config.Config)
		data bool // there is a data connection
		want string
	}{
		{"nothing is translated", nil, true, "remove"},
		{"ports are mapped", func(c *config.Config) { c.MapDataPorts = rules.PortRange{Low: 60000, High: 60100} }, true, "leave"},
		{"ports are mapped, and none is used", func(c *config.Config) { c.MapDataPorts = rules.PortRange{Low: 60000, High: 60100} }, false, "remove"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.edit)
			l := b.connect(plainEntry(1))
			l.logIn()
			if tt.data {
				b.pinholes.Data.Found(expect.Tuple{Src: ap("198.51.100.1:41000"), Dst: ap("203.0.113.1:60000")}, &l.session().Owner)
			}
			if err := b.g.removeRules(); err != nil || !slices.Equal(b.k.steps, []string{tt.want}) {
				t.Errorf("%q, %v; want %q", b.k.steps, err, tt.want)
			}
			b.k.fails[tt.want] = errBroken
			if err := b.g.removeRules(); !errors.Is(err, errBroken) {
				t.Errorf("%v, want that it cannot be removed", err)
			}
		})
	}
}
