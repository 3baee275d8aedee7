// SPDX-License-Identifier: Apache-2.0

package bugreport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/doctor"
	"github.com/pasvport/pasvport/expect"
)

// patience is how long the program nft may take.
const patience = 20 * time.Second

// Source is the subject of a report.
type Source struct {
	Version string
	Config  config.Config // of this command; a running daemon has its own
	File    string        // path of the configuration; empty: none
	Asked   bool          // the settings were given, and must be examined
}

// Collect collects everything.
func Collect(ctx context.Context, s Source) *Archive {
	a := &Archive{made: time.Now()}
	a.add("version.txt", "version of this program", []byte(s.Version), nil)
	text, err := kernelText()
	a.add("kernel.txt", "kernel, distribution, conntrack's settings and counters", text, err)
	text, err = configText(s.File)
	a.add("configuration.yaml", "the configuration file, without passwords", text, err)
	s.askDaemon(ctx, a)
	text, err = s.doctorText(ctx)
	a.add("doctor.txt", "what pasvport doctor says", text, err)
	text, err = nft(ctx, "list", "table", "inet", s.Config.Table)
	a.add("rules.nft", "our table as the kernel has it", text, err)
	text, err = nft(ctx, "-a", "list", "ruleset")
	a.add("ruleset.nft", "the whole ruleset", text, err)
	text, err = s.conntrack()
	a.add("conntrack.txt", "conntrack's entries and expectations of FTP", text, err)
	a.hosts = hostNames(&s.Config)
	return a
}

// askDaemon adds the answers of a running daemon.
func (s *Source) askDaemon(ctx context.Context, a *Archive) {
	c := control.NewClient(s.Config.ControlSocket)
	var settings config.Exported
	for _, q := range []struct {
		name, about string
		ask         func() (any, error)
	}{
		{"settings.json", "the daemon's settings, without passwords", func() (any, error) { err := c.Settings(ctx, &settings); return settings, err }},
		{"status.json", "what the daemon says of itself, with its counters", func() (any, error) { return c.Status(ctx) }},
		{"sessions.json", "control connections", func() (any, error) { return c.Sessions(ctx) }},
	} {
		v, err := q.ask()
		var text bytes.Buffer
		if err == nil {
			err = control.WriteJSON(&text, v)
		}
		a.add(q.name, q.about, text.Bytes(), err)
	}
	var events bytes.Buffer
	err := c.Events(ctx, control.EventFilter{}, false, func(e []byte) error {
		events.Write(e)
		return events.WriteByte('\n')
	})
	a.add("events.jsonl", "the last events, as in the log", events.Bytes(), err)
	if own, e := settings.Config(); e == nil && len(settings.Flags) > 0 && !s.Asked {
		own.ControlSocket = s.Config.ControlSocket
		s.Config = own
	}
}

func (s *Source) doctorText(ctx context.Context) ([]byte, error) {
	r, err := doctor.Run(ctx, doctor.Question{Config: s.Config, Asked: s.Asked})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = r.WriteText(&b)
	return b.Bytes(), err
}

// nft runs the program of that name, which only reads here.
func nft(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var errors bytes.Buffer
	cmd := exec.CommandContext(ctx, "nft", args...)
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("nft %s: %w %s", strings.Join(args, " "), err, bytes.TrimSpace(errors.Bytes()))
	}
	return out, err
}

// kernelFiles are copied unchanged; patterns.
var kernelFiles = []string{
	"/proc/version", "/etc/os-release", "/proc/sys/net/netfilter/*", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding",
	"/proc/thread-self/net/stat/nf_conntrack", "/proc/thread-self/net/netfilter/nfnetlink_queue", "/proc/modules",
}

func kernelText() ([]byte, error) {
	var b bytes.Buffer
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "uname: %s %s %s %s\n", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]),
		unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Machine[:]))
	for _, pattern := range kernelFiles {
		names, _ := filepath.Glob(pattern) // it fails only for a malformed pattern
		if len(names) == 0 {
			fmt.Fprintf(&b, "%s: not there\n", pattern)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			switch text = bytes.TrimSpace(text); {
			case err != nil:
				fmt.Fprintf(&b, "%v\n", err)
			case bytes.IndexByte(text, '\n') >= 0:
				fmt.Fprintf(&b, "%s:\n%s\n", name, text)
			default:
				fmt.Fprintf(&b, "%s: %s\n", name, text)
			}
		}
	}
	return b.Bytes(), nil
}

// configText is a configuration file without its passwords.
func configText(path string) ([]byte, error) {
	if path == "" {
		return []byte("# there is no configuration file: flags and defaults\n"), nil
	}
	text, err := os.ReadFile(path)
	return withoutPasswords(text), err
}

// conntrack are the entries of control and data connections, and the expectations.
func (s *Source) conntrack() ([]byte, error) {
	ct, err := expect.Dial()
	if err != nil {
		return nil, err
	}
	defer ct.Close()
	var b bytes.Buffer
	line := func(kind string, v any) {
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "%s %s\n", kind, text)
	}
	var ports []expect.PortRange
	for _, r := range s.Config.Rules().WithDefaults().Ports {
		ports = append(ports, expect.PortRange(r))
	}
	err = ct.DumpTo(ports, func(e *expect.Entry) { line("control", e) })
	if err == nil {
		err = ct.DumpExpected(func(e *expect.Entry) { line("data", e) })
	}
	if err == nil {
		err = ct.DumpExpectations(func(x *expect.ExpectationInfo) { line("expectation", x) })
	}
	return b.Bytes(), err
}
