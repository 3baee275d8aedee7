// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cloudRules are the translation in front of a machine in a cloud: from the
// outside address to the inside one, and back.
const cloudRules = `table ip cloud {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "in0" ip daddr 10.7.0.1 dnat to 172.16.5.2
	}
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.16.5.2 oifname "in*" snat to 10.7.0.1
	}
}
`

// TestGuides runs what the guides recommend: with each ruleset and configuration
// a transfer in every mode fails without the daemon, which proves that the
// ruleset is strict, and succeeds with it.
func TestGuides(t *testing.T) {
	needDaemon(t)
	for _, g := range Scenarios(t) {
		t.Run(g.Guide+"/"+g.Name, func(t *testing.T) {
			t.Parallel()
			needPrograms(t, "nft", "conntrack")
			Ftplib.Need(t)
			site := &Site{Topology: NewTopology(NewNet(t), g.Position.firewalls(), g.Position.Hidden), Position: g.Position,
				Allow: AllowRelated, Subject: Auto}
			run := guideRun{t, site, g, site.Firewalls[len(site.Firewalls)-1]}
			run.prepare()
			if g.Kernel {
				site.Subject = KernelHelper
			} else {
				run.transfers(false)
				run.start()
			}
			run.transfers(true)
		})
	}
}

// guideRun is a scenario in its network.
type guideRun struct {
	t    *testing.T
	site *Site
	g    *Scenario
	own  *Host // the machine that the guide describes
}

// prepare loads the guide's ruleset, and that of the cloud in front of it.
func (r guideRun) prepare() {
	r.t.Helper()
	r.g.load(r.t, r.own)
	switch r.g.Position.Name {
	case cloud.Name:
		r.site.Firewalls[0].LoadRules(r.t, cloudRules)
	case nat64.Name:
		r.tayga()
		r.site.Client.routeNAT64(r.t, clientGate)
	case nat64Own.Name:
		if joolModule() {
			r.jool()
		} else { // at least the rules
			r.site.translatorApart(r.t, (*Host).startTayga)
		}
		r.site.Client.routeNAT64(r.t, clientGate)
	}
}

// tayga starts the translator with the guide's configuration.
func (r guideRun) tayga() {
	r.t.Helper()
	program := taygaProgram(r.t)
	text := strings.ReplaceAll(r.g.Tayga, "/var/db/tayga", r.own.Dir)
	conf, err := r.own.File("tayga.conf", text)
	if err != nil {
		r.t.Fatal(err)
	}
	// Some of its checks are for the prefix in the guide.
	own, err := r.own.File("own.conf", strings.ReplaceAll(text, nat64Prefix.String(), "64:ff9b::/96"))
	if err != nil {
		r.t.Fatal(err)
	}
	if out, err := r.site.Third.Run(startTimeout, Cmd(program, "--mktun", "-c", own)); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	r.shell(fmt.Sprintf("tayga() { %s -c %s \"$@\"; }\nsystemctl() { :; }\n", program, conf))
	if _, err := r.own.Start(Cmd(program, "-d", "-c", conf)); err != nil {
		r.t.Fatal(err)
	}
}

// jool makes the namespace of the guide and starts the translator in it.
func (r guideRun) jool() {
	r.t.Helper()
	r.t.Cleanup(func() { removeNamespace("jool") })
	r.shell(fmt.Sprintf("PATH=$PATH:%s\nsystemctl() { :; }\n", filepath.Dir(joolProgram(r.t))))
}

// shell runs the guide's commands, all of which must succeed.
func (r guideRun) shell(prelude string) {
	r.t.Helper()
	out, err := r.own.Run(startTimeout, Command{Args: []string{"sh", "-e"}, Stdin: prelude + r.g.Shell, Env: libraries()})
	if err != nil {
		r.t.Fatalf("%v: %s\n%s", err, out, r.g.Shell)
	}
}

// start starts the daemon with the guide's configuration and nothing else.
func (r guideRun) start() {
	r.t.Helper()
	bin, err := binary.file()
	if err != nil {
		r.t.Fatal(err)
	}
	file, err := r.own.File("pasvport.yaml", r.g.YAML)
	if err != nil {
		r.t.Fatal(err)
	}
	socket := r.own.Dir + "/control.sock"
	p, err := r.own.Start(Cmd(bin, "run", "--config", file, "--control-socket", socket, "--log-level", "debug"))
	if err != nil {
		r.t.Fatal(err)
	}
	d := &Daemon{Process: p, Host: r.own, Socket: socket, bin: bin}
	r.site.Daemons = append(r.site.Daemons, d)
	r.site.Before(func() { d.end(r.t) })
	if err := p.WaitLog(startTimeout, "msg=ready"); err != nil {
		d.stopped = true
		r.t.Fatal(err)
	}
}

// server starts the FTP server where the guide has it.
func (r guideRun) server() *Server {
	switch r.g.Position.Name {
	case nat64.Name, nat64Own.Name:
		return r.site.server64(r.t, Pyftpdlib)
	case cloud.Name:
		return r.own.StartServer(r.t, Pyftpdlib, netip.AddrPortFrom(midFar[IPv4], 21))
	}
	return r.site.StartServer(r.t, Pyftpdlib)
}

// transfers tries every mode. Without the daemon one of each kind is enough.
func (r guideRun) transfers(want bool) {
	r.t.Helper()
	server := r.server()
	defer server.Stop()
	from := r.site.ClientHost()
	for _, f := range r.g.Position.families() {
		for _, m := range f.Modes() {
			want := want && !(r.g.Name == "jool" && m.Active() && joolModule()) // Jool's table would need the client's port
			job := Job{Client: Ftplib, From: from, Dial: r.site.Dial(from, f, 0), Server: server, Mode: m, Size: smallFile}
			if !want {
				job.Timeout = time.Second
			}
			out, err := job.Do()
			switch {
			case want && err != nil:
				r.t.Errorf("%s %s: %v\n%s", f, m, err, lastLines(out, 30))
			case !want && err == nil && !r.open(m):
				r.t.Errorf("%s %s: a transfer succeeded that should fail:\n%s", f, m, lastLines(out, 30))
			}
			if want {
				r.site.Case(Case{Mode: m, Family: f, Kind: "guide"}).Count(r.t)
			}
		}
	}
}

// open reports whether a mode needs no help: active mode works on its own where
// the server's own connections are allowed out (firewalld and ufw filter no
// output, a container may connect) and the client's address is not translated.
func (r guideRun) open(m Mode) bool {
	if !m.Active() {
		return false
	}
	switch r.g.Guide {
	case "firewalld", "ufw":
		return r.g.Position.ServerLocal
	case "containers":
		return r.g.Name != "docker-user"
	}
	return false
}

// TestGuideConfigs: configurations in the guides that belong to no scenario are
// valid, too.
func TestGuideConfigs(t *testing.T) {
	needDaemon(t)
	bin, err := binary.file()
	if err != nil {
		t.Fatal(err)
	}
	h := NewNet(t).Host("any")
	for i, text := range guideConfigs(t) {
		file, err := h.File(fmt.Sprintf("%d.yaml", i), text)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := h.Run(startTimeout, Cmd(bin, "rules", "--config", file)); err != nil {
			t.Errorf("%v: %s\n%s", err, out, text)
		}
	}
}
