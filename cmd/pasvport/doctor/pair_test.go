// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/doctor/blockfile"
)

const (
	goodConntrackd = `Sync {
	Mode FTFW {
		DisableExternalCache Off
		PurgeTimeout 60
	}
	UDP {
		Interface sync
	}
}
General {
	Filter From Userspace {
		Protocol Accept { TCP }
		Address Ignore { IPv4_address 127.0.0.1 }
	}
}
`
	goodKeepalived = `global_defs { vrrp_version 3 }
vrrp_instance FTP {
	interface sync
	virtual_ipaddress {
		10.7.0.1/24 dev in0
	}
	notify_master "/x/script primary"
	notify_backup "/x/script backup"
}
`
	// script is like primary-backup.sh.
	script = `#!/bin/sh
# -x is not an option
case "$1" in
primary) $BIN -C $CONF -c ;;
backup) $BIN -C $CONF -t ;;
esac
`
)

// TestPairing: each thing that would break FTP in a failover is reported, and
// nothing else.
func TestPairing(t *testing.T) {
	up := &control.Peer{Address: "10.99.0.2:2121", Link: control.PeerUp}
	for _, tt := range []struct {
		name     string
		change   [2]string // replacement in either file
		edit     func(*pairing)
		level    Level // Warn or Problem; empty: no finding
		want     string
		noScript bool
	}{
		{name: "good"},
		{name: "good without external cache, no flush", change: [2]string{"DisableExternalCache Off", "DisableExternalCache On"}, noScript: true},
		{name: "other helpers", change: [2]string{"UDP {", "Options { ExpectationSync { sip ftp } }\nUDP {"}},
		{name: "all expectations", change: [2]string{"UDP {", "Options {\nExpectationSync On\n}\nUDP {"}, level: Problem, want: "ExpectationSync On"},
		{name: "our expectations", change: [2]string{"UDP {", "Options {\nExpectationSync { sip\nsane }\n}\nUDP {"}, level: Problem, want: "ExpectationSync with sane"},
		{name: "flush", change: [2]string{"DisableExternalCache Off", "DisableExternalCache On"}, level: Problem, want: "-t, PurgeTimeout"},
		{name: "no flush", change: [2]string{"DisableExternalCache Off\n\t\tPurgeTimeout 60", "DisableExternalCache On\n\t\tPurgeTimeout 0"}},
		{name: "UDP alone", change: [2]string{"Accept { TCP }", "Accept { UDP }"}, level: Problem, want: "leaves out TCP"},
		{name: "TCP ignored", change: [2]string{"Protocol Accept { TCP }", "Protocol Ignore {\nTCP\n}"}, level: Problem, want: "leaves out TCP"},
		{name: "closed alone", change: [2]string{"Address Ignore { IPv4_address 127.0.0.1 }", "State Accept {\nTIME_WAIT for TCP\n}"}, level: Problem, want: "leaves out established"},
		{name: "open alone", change: [2]string{"Address Ignore { IPv4_address 127.0.0.1 }", "State Accept { ESTABLISHED CLOSED for TCP }"}},
		{name: "no sync", change: [2]string{"Sync {", "Stats {"}, level: Problem, want: "no Sync block"},
		{name: "no script", change: [2]string{`notify_master "/x/script primary"`, ""}, level: Problem, want: "no notify_master"},
		{name: "a group's script", change: [2]string{`notify_master "/x/script primary"`, "}\nvrrp_sync_group G {\nnotify_master /x/script"}},
		{name: "another script", edit: func(p *pairing) { p.script = func(string) (string, bool) { return "# conntrackd -c\ntrue\n", true } }, level: Warn, want: "does not seem to"},
		{name: "no instance", change: [2]string{"vrrp_instance FTP", "virtual_server FTP"}, level: Warn, want: "no vrrp_instance"},
		{name: "addresses on the link", change: [2]string{"10.7.0.1/24 dev in0", "10.7.0.1/24"}, level: Warn, want: "not dedicated"},
		{name: "default route", edit: func(p *pairing) { p.defaults = []string{"out0", "sync"} }, level: Warn, want: "not dedicated"},
		{name: "no link", edit: func(p *pairing) { p.link = "" }, level: Problem, want: "no interface has"},
		{name: "strict windows", edit: func(p *pairing) { p.sysctl = noSysctl("be_liberal") }, level: Warn, want: "tcp_be_liberal is off"},
		{name: "strict beginnings", edit: func(p *pairing) { p.sysctl = noSysctl("loose") }, level: Warn, want: "tcp_loose is off"},
		{name: "another key", edit: func(p *pairing) {
			p.peer = &control.Peer{Link: control.PeerDown, Reason: "the other end has another key", Hint: "compare"}
		}, level: Problem, want: "another key"},
		{name: "half a link", edit: func(p *pairing) { p.peer = &control.Peer{Link: control.PeerMute} }, level: Problem, want: "is not connected"},
		{name: "clocks", edit: func(p *pairing) { p.peer = &control.Peer{Link: control.PeerUp, Skew: -61} }, level: Warn, want: "-61.0 s"},
		{name: "not paired", edit: func(p *pairing) { p.paired = false }, level: Warn, want: "pasvport does not know"},
		{name: "nothing of it", edit: func(p *pairing) { p.paired, p.conntrackd, p.link = false, nil, "" }},
		{name: "no files", edit: func(p *pairing) { p.conntrackd, p.keepalived = nil, nil }},
		{name: "no daemon", edit: func(p *pairing) { p.peer = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var bad []Finding
			p := &pairing{
				cfg: config.Default(), paired: true, peer: up, link: "sync", defaults: []string{"out0"}, sysctl: noSysctl(""),
				script: func(path string) (string, bool) { return script, path == "/x/script" && !tt.noScript },
				found: func(level Level, text string, hints ...string) {
					if level != OK {
						bad = append(bad, Finding{Level: level, Text: text, Hint: hints})
					}
				},
			}
			p.conntrackd, p.keepalived = parsed(t, goodConntrackd, tt.change), parsed(t, goodKeepalived, tt.change)
			if tt.edit != nil {
				tt.edit(p)
			}
			p.examine()
			if tt.level == "" && len(bad) > 0 || tt.level != "" && (len(bad) != 1 || bad[0].Level != tt.level || !strings.Contains(bad[0].Text, tt.want)) {
				t.Errorf("found %+v, want %s of %q", bad, tt.level, tt.want)
			}
		})
	}
}

// noSysctl returns 1 for every setting, and 0 for one.
func noSysctl(off string) func(string) (int, bool) {
	return func(name string) (int, bool) {
		if off != "" && strings.HasSuffix(name, off) {
			return 0, true
		}
		return 1, true
	}
}

func parsed(t *testing.T, text string, change [2]string) *blockfile.Block {
	t.Helper()
	if change[0] != "" {
		text = strings.Replace(text, change[0], change[1], 1)
	}
	b, err := blockfile.Parse(text, "#!")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReadBlocks: files are read with those that they include, even if they
// include one another; a file that cannot be read is reported.
func TestReadBlocks(t *testing.T) {
	dir := t.TempDir()
	one, two, bad := filepath.Join(dir, "one.conf"), filepath.Join(dir, "two.conf"), filepath.Join(dir, "bad")
	err := errors.Join(os.WriteFile(one, []byte("include t*.conf\nfirst { }\n"), 0o600), os.WriteFile(two, []byte("second { x 1 }\ninclude one.conf\n"), 0o600),
		os.WriteFile(bad, []byte("{"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	e := &examination{report: &Report{}}
	if b := e.readBlocks(one, "#", 0); b == nil || len(b.All("first")) == 0 || b.Value("second", "x") != "1" {
		t.Errorf("read %+v", b)
	}
	if e.readBlocks(filepath.Join(dir, "none"), "#", 0) != nil || len(e.report.Findings) > 0 {
		t.Errorf("no file: %+v", e.report.Findings)
	}
	if e.readBlocks(bad, "#", 0) != nil || len(e.report.Findings) != 1 {
		t.Errorf("a bad file: %+v", e.report.Findings)
	}
}
