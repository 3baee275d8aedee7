// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// TestReload: settings that can change while running do; the others are named.
func TestReload(t *testing.T) {
	b := newBench(t, nil)
	g := b.g
	next := config.Default()
	next.LogSessions, next.LogTransfers = true, true
	next.MaxPinholes, next.Table = 7, "other"
	got, err := g.Reload(next)
	if err != nil || got.MaxPinholes != 7 || g.Settings().MaxPinholes != 7 || got.Table == "other" {
		t.Errorf("%v: %+v", err, got)
	}
	b.logs(`msg="configuration reloaded"`, "max-pinholes")
	b.logs(`msg="some settings need a restart"`, "table")
	if b.w.older.due == nil {
		t.Error("connections that may have passed unread are not listed")
	}
	if len(b.k.steps) != 0 {
		t.Errorf("the rules change: %q", b.k.steps)
	}
}

// TestReloadRules: a change that the rules depend on changes them, and events are
// followed for the old ports and the new ones. What a reload cannot do changes
// nothing.
func TestReloadRules(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fails string
		edit  func(*config.Config)
		steps []string
	}{
		{"ports", "", func(c *config.Config) { c.Ports = []rules.PortRange{portRange(2121)} }, []string{"follow ports", "reconfigure"}},
		{"mapped ports of a policy", "", func(c *config.Config) {
			own := config.Default()
			own.MapDataPorts = rules.PortRange{Low: 60000, High: 60100}
			c.Policies = []config.Policy{{Servers: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}, Config: &own}}
		}, []string{"follow ports", "reconfigure"}},
		{"one way in a policy", "", func(c *config.Config) {
			own := config.Default()
			own.OneWay = true
			c.Policies = []config.Policy{{Servers: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}, Config: &own}}
		}, []string{"follow ports", "reconfigure"}},
		{"each step of a transfer's end", "", func(c *config.Config) { c.LogTransfers = !c.LogTransfers }, []string{"follow ports", "reconfigure"}},
		{"events cannot be followed", "follow ports", func(c *config.Config) { c.Ports = []rules.PortRange{portRange(2121)} }, []string{"follow ports"}},
		{"the rules cannot be changed", "reconfigure", func(c *config.Config) { c.Ports = []rules.PortRange{portRange(2121)} }, []string{"follow ports", "reconfigure"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			if tt.fails != "" {
				b.k.fails[tt.fails] = errBroken
			}
			old := b.g.Settings()
			next := b.cfg
			tt.edit(&next)
			next.MaxPinholes = 7
			got, err := b.g.Reload(next)
			if !slices.Equal(b.k.steps, tt.steps) {
				t.Errorf("steps %q, want %q", b.k.steps, tt.steps)
			}
			for _, want := range append(next.Rules().Ports, portRange(21)) {
				if !slices.Contains(b.ev.ports, expect.PortRange(want)) {
					t.Errorf("events are followed for %v, not for %v", b.ev.ports, want)
				}
			}
			if tt.fails != "" {
				if !errors.Is(err, errBroken) || !reflect.DeepEqual(got, old) || !reflect.DeepEqual(b.g.Settings(), old) || b.log.has("configuration reloaded") {
					t.Errorf("%v: the settings are %+v", err, got)
				}
				return
			}
			if err != nil || b.g.Settings().MaxPinholes != 7 || !slices.Equal(b.k.rules.Ports, next.Rules().Ports) || b.k.rules.Translate != next.Rules().Translate {
				t.Errorf("%v: the rules are %+v", err, b.k.rules)
			}
			if got := b.g.pinholes.Data.Unreported.Load(); b.k.rules.FewEvents != next.Rules().FewEvents || got != b.k.rules.QuietData() {
				t.Errorf("the end of data connections counts as unreported: %t; the rules are %+v", got, b.k.rules)
			}
		})
	}
}

// TestReloadPortReturns: a session whose port was no control port for a while has
// passed unread; what its client says next is read all the same.
func TestReloadPortReturns(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	for _, tt := range []struct {
		ports  []rules.PortRange
		missed bool
	}{
		{[]rules.PortRange{portRange(21), portRange(2121)}, false},
		{[]rules.PortRange{portRange(2121)}, true},
		{[]rules.PortRange{portRange(21)}, true},
	} {
		next := b.cfg
		next.Ports = tt.ports
		if _, err := b.g.Reload(next); err != nil {
			t.Fatal(err)
		}
		if got := l.session().HasMissed(); got != tt.missed {
			t.Errorf("with control ports %v: packets may have passed unread: %t, want %t", tt.ports, got, tt.missed)
		}
	}
}

// TestReloadTranslates: what was translated once stays translated, and what never
// was, because a reload failed, is not.
func TestReloadTranslates(t *testing.T) {
	b := newBench(t, nil)
	mapped, plain := b.cfg, b.cfg
	mapped.MapDataPorts = rules.PortRange{Low: 60000, High: 60100}
	b.k.fails["reconfigure"] = errBroken
	if _, err := b.g.Reload(mapped); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	delete(b.k.fails, "reconfigure")
	for _, tt := range []struct {
		cfg  config.Config
		port uint16
		want bool
	}{{plain, 2121, false}, {mapped, 2122, true}, {plain, 2123, true}} {
		tt.cfg.Ports = []rules.PortRange{portRange(tt.port)}
		if _, err := b.g.Reload(tt.cfg); err != nil || b.k.rules.Translate != tt.want {
			t.Errorf("port %d: %v, translates: %v", tt.port, err, b.k.rules.Translate)
		}
	}
}

// TestReloadMonitor: where data connections cannot be opened, only monitoring
// works; and a setting that the kernel got with each queue is reported to need a
// restart.
func TestReloadMonitor(t *testing.T) {
	b := newBench(t, func(c *config.Config) { c.Monitor, c.FailClosed = true, true })
	b.plan.unable = errBroken
	next := b.cfg
	next.Monitor = false
	if _, err := b.g.Reload(next); !errors.Is(err, errBroken) || !b.g.Settings().Monitor {
		t.Errorf("%v, and it monitors: %v", err, b.g.Settings().Monitor)
	}
	b.plan.unable = nil
	if _, err := b.g.Reload(next); err != nil || b.g.Settings().Monitor {
		t.Errorf("%v, and it monitors: %v", err, b.g.Settings().Monitor)
	}
	b.logs(`msg="some settings need a restart"`, "settings=[fail]")
}

// TestReloadOneWay: sessions keep the policy that they began with, and so the
// rules for it stay.
func TestReloadOneWay(t *testing.T) {
	b := newBench(t, nil)
	plain, strict := b.cfg, b.cfg
	strict.OneWay = true
	for i, tt := range []struct {
		cfg  config.Config
		want bool
	}{{plain, false}, {strict, true}, {plain, true}} {
		tt.cfg.Ports = []rules.PortRange{portRange(uint16(2121 + i))}
		if _, err := b.g.Reload(tt.cfg); err != nil || b.k.rules.OneWay != tt.want {
			t.Errorf("reload %d: %v, one way: %t, want %t", i, err, b.k.rules.OneWay, tt.want)
		}
	}
}
