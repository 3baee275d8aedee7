// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/tablelock"
	"github.com/pasvport/pasvport/integration/stage"
	"github.com/pasvport/pasvport/rules"
)

// one fails the test unless a report has exactly one finding, with this level and
// these words in its text and hints.
func one(t *testing.T, r *Report, level Level, words ...string) {
	t.Helper()
	if len(r.Findings) != 1 {
		t.Fatalf("findings: %+v", r.Findings)
	}
	f := r.Findings[0]
	text := f.Text + " | " + strings.Join(f.Hint, " | ")
	if f.Level != level {
		t.Errorf("level %q, want %q: %s", f.Level, level, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in: %s", w, text)
		}
	}
}

// TestDaemon: the findings about the daemon that has, or had, the table.
func TestDaemon(t *testing.T) {
	yes := func(rules.Config) (bool, error) { return true, nil }
	other := settings()
	other.Ports, other.Allow = []rules.PortRange{{Low: 2121, High: 2121}}, config.AllowMark
	asked := settings()
	for _, tt := range []struct {
		name     string
		d        daemon
		there    bool
		socket   string
		asked    bool
		complete func(rules.Config) (bool, error)
		level    Level
		want     []string
	}{
		{"none", daemon{}, false, "", false, yes, OK, []string{"no daemon is running with this table"}},
		{"crashed", daemon{}, true, "", false, yes, Warn, []string{"no daemon has it", "nft delete table inet pasvport"}},
		{"flushed", daemon{running: true}, false, "", false, yes, Problem, []string{"its table pasvport is gone"}},
		{"without a socket", daemon{running: true}, true, "", false, yes, OK, []string{"without a control socket it cannot be asked"}},
		{"another one answers", daemon{running: true, err: &otherTable{"/x", "a", "b"}}, true, "/x", false, yes, Warn,
			[]string{"the daemon that answers on /x has the table a, not b", "give the flags or the file"}},
		{"it does not answer", daemon{running: true, err: errors.New("refused")}, true, "/x", false, yes, Warn, []string{"cannot be asked: refused"}},
		{"complete", daemon{running: true, status: control.Status{PID: 7, Strategy: "claim"}, settings: &asked}, true, "/x", true, yes, OK,
			[]string{"(pid 7), its rules are complete; strategy claim"}},
		{"incomplete", daemon{running: true, status: control.Status{PID: 7}, settings: &asked}, true, "/x", true,
			func(rules.Config) (bool, error) { return false, nil }, Problem, []string{"(pid 7) and rules of it are missing"}},
		{"not to be read", daemon{running: true, settings: &asked}, true, "/x", true,
			func(rules.Config) (bool, error) { return false, errors.New("no") }, Warn, []string{"its table cannot be read: no"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := settings()
			cfg.ControlSocket = tt.socket
			e := &examination{report: new(Report), cfg: cfg, complete: tt.complete}
			e.daemon(Question{Config: cfg, Asked: tt.asked}, tt.d, tt.there)
			one(t, e.report, tt.level, tt.want...)
			if e.running != tt.d.running {
				t.Error("whether one is running is not known later")
			}
		})
	}
	for asked, want := range map[bool]string{true: "as this examination", false: "as its file or the defaults"} {
		e := &examination{report: new(Report), cfg: settings(), complete: yes}
		e.compare(Question{Config: settings(), Asked: asked}, daemon{settings: &other})
		e.report.Findings = e.report.Findings[:1] // the rest is above
		one(t, e.report, Warn, want, "ports 2121 and not 21", "allow mark and not related")
	}
	e := &examination{report: new(Report), cfg: settings(), complete: yes}
	e.compare(Question{Config: asked}, daemon{settings: &asked, status: control.Status{Queues: []control.Queue{{Num: 1}, {Num: 2, Dropped: 3}}}})
	e.report.Findings = e.report.Findings[1:]
	one(t, e.report, Warn, "queue 2 lost 3 packets", "more --queues")
}

// TestInstalled: the table of a running daemon is compared with its settings and
// the kernel features that it found, not with what would be chosen now.
func TestInstalled(t *testing.T) {
	cfg := settings()
	e := &examination{cfg: settings()}
	plain := e.installed(daemon{settings: &cfg, status: control.Status{Carrier: "none", QueueKind: "nfqueue"}})
	xt := e.installed(daemon{settings: &cfg, status: control.Status{Carrier: "sane", QueueKind: rules.QueueXT.String(), Features: map[string]bool{"fast-path": true}}})
	if plain.Queue != rules.QueueNative || plain.Carrier != rules.CarrierNone || plain.FastPath != 0 {
		t.Errorf("%+v", plain)
	}
	if xt.Queue != rules.QueueXT || xt.Carrier != rules.CarrierSane || xt.FastPath != rules.FastPathAny {
		t.Errorf("%+v", xt)
	}
}

// answers is a daemon on a control socket.
type answers struct {
	control.Source
	table    string
	settings any
}

func (a answers) Status() control.Status       { return control.Status{Table: a.table, PID: 7} }
func (a answers) Settings() any                { return a.settings }
func (a answers) Sessions() []control.Session  { return nil }
func (a answers) Servers() []control.Server    { return nil }
func (a answers) Events() *report.Stream       { return new(report.Stream) }
func (a answers) Reload(context.Context) error { return nil }
func (a answers) Unblock(netip.Addr) error     { return nil }
func (a answers) Drain(string, bool) error     { return nil }
func (a answers) End(uint64) error             { return nil }

// TestAsk: the daemon that has the table is asked for its settings, and no other
// one.
func TestAsk(t *testing.T) {
	cfg, has := settings(), settings()
	has.MaxPinholes = 7
	socket := filepath.Join(t.TempDir(), "control.sock")
	stage.Alone(t, func() error {
		if d := ask(t.Context(), cfg); d.running {
			t.Errorf("no daemon: %+v", d)
		}
		lock, err := tablelock.Take(cfg.Table, cfg.QueueNum, 1)
		if err != nil {
			return err
		}
		defer lock.Close()
		if d := ask(t.Context(), cfg); !d.running || d.err != nil || d.settings != nil {
			t.Errorf("without a socket: %+v", d)
		}
		cfg.ControlSocket = socket
		if d := ask(t.Context(), cfg); !d.running || d.err == nil || d.settings != nil {
			t.Errorf("it does not answer: %+v", d)
		}
		for _, tt := range []struct {
			name     string
			source   answers
			answered bool
		}{
			{"it answers", answers{table: cfg.Table, settings: has.Export()}, true},
			{"another one answers", answers{table: "other", settings: has.Export()}, false},
			{"something else answers", answers{table: cfg.Table, settings: []int{1}}, false},
		} {
			l, err := control.Listen(socket, tt.source)
			if err != nil {
				return err
			}
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error)
			go func() { ended <- l.Run(ctx) }()
			d := ask(t.Context(), cfg)
			stop()
			<-ended
			if !d.running || (d.err == nil) != tt.answered || (d.settings != nil) != tt.answered {
				t.Errorf("%s: %+v", tt.name, d)
			} else if tt.answered && (d.settings.MaxPinholes != 7 || d.settings.ControlSocket != socket || d.status.PID != 7) {
				t.Errorf("%s: %+v", tt.name, d)
			}
		}
		return nil
	})
}

// TestProcess: the owner of a queue is named.
func TestProcess(t *testing.T) {
	if own := process(os.Getpid()); !strings.Contains(own, "doctor.test") {
		t.Errorf("this program is %q", own)
	}
	if gone := process(1 << 30); gone != "another process (netlink port 1073741824)" {
		t.Errorf("no process is %q", gone)
	}
}
