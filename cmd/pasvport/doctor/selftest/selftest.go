// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/rules/walk"
)

// fileSize is what is transferred each way: many segments.
const fileSize = 256 << 10

// refusedAfter is how long a data connection is tried that must not come about.
const refusedAfter = time.Second

// A Step is one thing that was tried.
type Step struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Skipped says why the step was not tried; it counts as OK.
	Skipped string   `json:"skipped,omitempty"`
	Error   string   `json:"error,omitempty"`
	Log     []string `json:"log,omitempty"` // the daemon's last lines, after a failure
	Took    float64  `json:"seconds"`
}

// A Report is what became of all steps, in their order. The last one may have
// failed so that the following could not be tried.
type Report struct {
	Steps []Step `json:"steps"`

	daemon *daemon
}

// Fine reports whether every step went well.
func (r *Report) Fine() bool {
	for _, s := range r.Steps {
		if !s.OK {
			return false
		}
	}
	return len(r.Steps) > 0
}

// WriteJSON writes r as data.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// WriteText writes r for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	bad, skipped := 0, 0
	for _, s := range r.Steps {
		if s.Skipped != "" {
			skipped++
			fmt.Fprintf(&b, "skip  %s: %s\n", s.Name, s.Skipped)
			continue
		}
		if s.OK {
			fmt.Fprintf(&b, "ok    %s\n", s.Name)
			continue
		}
		bad++
		fmt.Fprintf(&b, "FAIL  %s\n      %s\n", s.Name, s.Error)
		for _, l := range s.Log {
			fmt.Fprintf(&b, "      | %s\n", l)
		}
	}
	fmt.Fprintf(&b, "\n%d steps, %d failed", len(r.Steps), bad)
	if skipped > 0 {
		fmt.Fprintf(&b, ", %d skipped", skipped)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// step runs one step and reports whether it went well.
func (r *Report) step(name string, f func() error) bool {
	begin := time.Now()
	err := f()
	s := Step{Name: name, OK: err == nil, Took: time.Since(begin).Seconds()}
	if err != nil {
		s.Error = strings.Join(strings.Fields(err.Error()), " ")
		if r.daemon != nil {
			s.Log = r.daemon.tail()
		}
	}
	r.Steps = append(r.Steps, s)
	return err == nil
}

// Run builds the network, transfers files and takes everything down again. The
// control port, --allow, --strategy, --table and --ct-mark are those of cfg.
// Failed steps are in the report; the error is that of ctx.
func Run(ctx context.Context, cfg config.Config) (*Report, error) {
	return run(ctx, cfg, kernel.HasIPv6())
}

func run(ctx context.Context, cfg config.Config, ipv6 bool) (*Report, error) {
	r := &Report{}
	var n *network
	defer func() {
		if n != nil {
			n.close()
		}
	}()
	built := r.step("three namespaces: client, firewall that drops everything but the control port, server", func() (err error) {
		if n, err = newNetwork(ipv6); err != nil {
			return err
		}
		return n.lockDown(cfg)
	})
	if !built {
		return r, ctx.Err()
	}
	file := make([]byte, fileSize)
	_, _ = rand.Read(file) // never fails
	var s *server
	end := func() {}
	if !r.step("FTP server", func() (err error) { s, end, err = startServer(n.server, controlPort(cfg), file); return err }) {
		return r, ctx.Err()
	}
	defer end()
	r.transfers(ctx, n, s, cfg)
	return r, ctx.Err()
}

// transfers tries without a daemon, with one, and after it.
func (r *Report) transfers(ctx context.Context, n *network, s *server, cfg config.Config) {
	if !r.step("without pasvport: a control connection, and no data connection", func() error { return refused(n, s, cfg) }) {
		return
	}
	started := r.step("pasvport starts", func() (err error) {
		r.daemon, err = startDaemon(n.firewall, cfg)
		return err
	})
	const noIPv6 = "IPv6 is off in this kernel"
	for _, t := range []struct {
		family, addr string
		verbs        []string
	}{
		{"IPv4 with NAT", server4, []string{"PASV", "EPSV", "PORT", "EPRT"}},
		{"IPv6", server6, []string{"EPSV", "EPRT"}},
	} {
		for _, verb := range t.verbs {
			name := fmt.Sprintf("%s, %s: fetch and store", t.family, verb)
			switch {
			case !started || ctx.Err() != nil:
			case t.addr == server6 && !n.ipv6:
				r.Steps = append(r.Steps, Step{Name: name, OK: true, Skipped: noIPv6})
			default:
				r.step(name, func() error { return transfer(n, s, address(t.addr, cfg), verb) })
			}
		}
	}
	if r.daemon == nil {
		return
	}
	r.step("pasvport stops and leaves nothing behind", func() error {
		if err := r.daemon.stop(); err != nil {
			return err
		}
		return leftovers(n.firewall)
	})
}

func address(host string, cfg config.Config) string {
	return net.JoinHostPort(host, strconv.Itoa(int(controlPort(cfg))))
}

// errNotRefused says that the test would prove nothing.
var errNotRefused = errors.New("the data connection was opened although nothing allows it")

// refused makes sure that what works later is pasvport's doing.
func refused(n *network, s *server, cfg config.Config) error {
	c, err := login(n.client, address(server4, cfg), refusedAfter)
	if err != nil {
		return err
	}
	defer c.close()
	err = c.fetch("PASV", s.file)
	if errors.Is(err, errRefused) {
		return nil
	}
	if err == nil {
		err = errNotRefused
	}
	return err
}

// transfer is a session that fetches a file and stores one.
func transfer(n *network, s *server, addr, verb string) error {
	c, err := login(n.client, addr, transferTimeout)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.fetch(verb, s.file); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	upload := make([]byte, fileSize)
	_, _ = rand.Read(upload)
	if err := c.store(verb, s, upload); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = c.say(2, "QUIT")
	return err
}

// leftovers looks for what a daemon should have taken away.
func leftovers(ns *namespace) error {
	set, err := walk.Read(ns.fd)
	if err != nil {
		return err
	}
	for _, c := range set.Chains() {
		if set.Ours(c.Family, c.Table) {
			return fmt.Errorf("its table %s is still there", c.Table)
		}
	}
	return nil
}
