// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The blocks of the guide are files, named in the comments before them, and
// commands that turn them into the second machine's files.
var (
	pairBlock = regexp.MustCompile("(?ms)^<!-- pair(-run)? ([a-z0-9/.-]+) -->\n```[a-z]*\n(.*?)^```$")
	anyBlock  = regexp.MustCompile("(?m)^(<!-- (pair|pair-run|not run:) .*-->\n)?```([a-z]*)\n")
)

// pairGuideNet are names and addresses of the guide and of the test's network.
var pairGuideNet = strings.NewReplacer("lan0", "in0", "wan0", "out0", "sync0", "sync", "192.168.1.0/24", "10.7.0.0/24", "192.168.1.1", "10.7.0.1",
	"enable_script_security", "") // the test's files are below /tmp

// outside is the guide's address of the pair towards the servers.
var outside = netip.MustParseAddr("203.0.113.5")

// pairFromGuide builds the pair of the guide with the guide's files alone.
func pairFromGuide(t *testing.T) *FirewallPair {
	t.Helper()
	needDaemon(t)
	p := Position{Name: "pair-guide", Hidden: true, Families: []Family{IPv4}, NAT: []NAT{{Post: snat}}}
	f := bareMachines(t, p, AllowRelated, Auto, nil)
	f.Before(func() {
		for _, m := range f.Machines {
			m.end(t)
		}
	})
	for i, m := range f.Machines {
		for dev, addr := range map[string]string{"in0": "10.7.0.25%d/24", "out0": "203.0.113.25%d/24"} {
			if out, err := m.Run(startTimeout, Cmd("ip", "address", "add", fmt.Sprintf(addr, i+1), "dev", dev)); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		m.followGuide(t)
	}
	for _, m := range f.Machines {
		m.conntrackd = f.start(t, m, "conntrackd", "-C", m.etc("conntrackd/conntrackd.conf"))
		if err := waitFor(startTimeout, "conntrackd", func() bool { _, err := os.Stat(filepath.Join(m.Dir, "conntrackd.ctl")); return err == nil }); err != nil {
			t.Fatalf("%v\n%s", err, m.conntrackd.Output())
		}
		m.startFromGuide(t)
	}
	f.keepFromGuide(t, 0)
	f.waitHas(t, 0)
	f.keepFromGuide(t, 1)
	return f
}

// etc is a file below /etc of the guide.
func (m *PairMachine) etc(name string) string { return filepath.Join(m.Dir, "etc", name) }

// followGuide sets a machine up as the guide says.
func (m *PairMachine) followGuide(t *testing.T) {
	t.Helper()
	text := guides(t)[pairGuide]
	for _, b := range anyBlock.FindAllStringSubmatch(text, -1) {
		if b[1] == "" && b[3] != "" {
			t.Errorf("no comment says where to run a block of %q", b[3])
		}
	}
	conntrackd, err := m.unpacked("conntrackd")
	if err != nil {
		t.Fatal(err)
	}
	call := fmt.Sprintf("env %s -C %s -", strings.Join(append(conntrackd.Env, conntrackd.Args...), " "), m.etc("conntrackd/conntrackd.conf"))
	paths := strings.NewReplacer("/etc/", m.etc("")+"/", "/var/run/", m.Dir+"/", "/var/lock/", m.Dir+"/", "conntrackd -", call)
	files := 0
	for _, b := range pairBlock.FindAllStringSubmatch(text, -1) {
		run, name, body := b[1] != "", b[2], paths.Replace(pairGuideNet.Replace(b[3]))
		if run {
			if name != fmt.Sprintf("fw%d", m.i+1) {
				continue
			}
			if out, err := m.Run(startTimeout, Command{Args: []string{"sh", "-e"}, Stdin: body}); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			continue
		}
		path := m.etc(strings.TrimPrefix(name, "/etc/"))
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), mode); err != nil {
			t.Fatal(err)
		}
		files++
		switch {
		case strings.HasSuffix(name, ".conf") && strings.Contains(name, "nftables"):
			m.LoadRules(t, body)
		case strings.Contains(name, "sysctl.d"):
			for line := range strings.Lines(body) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				if err := m.Sysctl(strings.ReplaceAll(key, ".", "/"), value); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if files != 6 {
		t.Fatalf("the guide has %d files", files)
	}
	if err := os.WriteFile(m.etc("pasvport/pair.key"), []byte(pairKey), 0o640); err != nil {
		t.Fatal(err)
	}
}

// startFromGuide starts the daemon with the guide's configuration.
func (m *PairMachine) startFromGuide(t *testing.T) {
	t.Helper()
	bin, err := binary.file()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(m.Dir, "control.sock")
	p, err := m.Start(Cmd(bin, "run", "--config", m.etc("pasvport/pasvport.yaml"), "--control-socket", socket, "--log-level", "debug"))
	if err != nil {
		t.Fatal(err)
	}
	m.daemon = &Daemon{Process: p, Host: m.Host, Socket: socket, bin: bin}
	if err := p.WaitLog(startTimeout, "msg=ready"); err != nil {
		m.daemon.stopped = true
		t.Fatal(err)
	}
}

func (f *FirewallPair) keepFromGuide(t *testing.T, i int) {
	t.Helper()
	m := f.Machines[i]
	m.keepalived = f.start(t, m, "keepalived", "-n", "-l", "-D", "-P", "-f", m.etc("keepalived/keepalived.conf"),
		"-p", filepath.Join(m.Dir, "keepalived.pid"), "-r", filepath.Join(m.Dir, "vrrp.pid"))
}

// waitHas waits until a machine has both addresses that move.
func (f *FirewallPair) waitHas(t *testing.T, i int) {
	t.Helper()
	m := f.Machines[i]
	if err := waitFor(startTimeout, "the addresses", func() bool { return m.has(outside) && m.has(clientGate[IPv4]) }); err != nil {
		t.Fatalf("%v on %s\n%s", err, m.Role, lastLines(m.keepalived.Output(), 30))
	}
}

// waitUp waits until both daemons say that their link is up.
func (f *FirewallPair) waitUp(t *testing.T) {
	t.Helper()
	for _, m := range f.Machines {
		var out string
		if err := waitFor(startTimeout, "the link", func() bool {
			out, _ = m.Run(startTimeout, Cmd(m.daemon.bin, "status", "--control-socket", m.daemon.Socket))
			return strings.Contains(out, ":2121, up for")
		}); err != nil {
			t.Fatalf("%v on %s: %s", err, m.Role, out)
		}
	}
}

// TestGuidePair follows the guide for two firewalls: with its files alone no data
// connection passes without pasvport; the doctor has no complaint about the pair;
// sessions, announced ports and transfers continue when the addresses move, when they
// move again, and when the machine that has them crashes.
func TestGuidePair(t *testing.T) {
	f := pairFromGuide(t)
	f.waitUp(t)
	for _, m := range f.Machines {
		out, err := m.Run(30*time.Second, Cmd(m.daemon.bin, "doctor", "--json", "--control-socket", m.daemon.Socket,
			"--conntrackd", m.etc("conntrackd/conntrackd.conf"), "--keepalived", m.etc("keepalived/keepalived.conf")))
		if list := findingsOfPair(t, out); len(list["warn"])+len(list["problem"]) > 0 || len(list["ok"]) != 2 {
			t.Errorf("%s: %v: %q", m.Role, err, list)
		}
	}
	ln := f.ListenControl(t, IPv4)
	type talk struct {
		*Dialogue
		data  func() error
		offer *Offer
	}
	begin := func(other int) (list []talk) {
		conf := f.Machines[other].etc("conntrackd/conntrackd.conf")
		for _, m := range []Mode{PASV, PORT} {
			d := f.Talk(t, ln, f.Client, IPv4)
			c := d.Announce(m).MustOpen(t)
			f.waitEntry(t, other, conf, c)
			list = append(list, talk{Dialogue: d, data: func() error {
				c.SetDeadline(time.Now().Add(openTimeout))
				_, err := c.Write(make([]byte, 1<<20))
				return err
			}})
			d = f.Talk(t, ln, f.Client, IPv4)
			list = append(list, talk{Dialogue: d, offer: d.Announce(m)})
		}
		for _, x := range list {
			f.waitEntry(t, other, conf, x.Client)
		}
		return list
	}
	goOn := func(list []talk) {
		t.Helper()
		for _, x := range list {
			f.Site.Case(Case{Kind: "guide"}).Count(t)
			if x.offer != nil {
				x.offer.MustOpen(t)
				x.offer.MustRefuse(t, x.offer.Opener, "a second time")
			} else if err := x.data(); err != nil {
				t.Errorf("transfer: %v", err)
			}
			x.Exchange()
			x.Announce(PASV).MustOpen(t)
		}
	}
	stop := func(i int) {
		t.Helper()
		if err := f.Machines[i].keepalived.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		f.waitHas(t, 1-i)
		if _, err := f.Machines[i].keepalived.Wait(startTimeout); err != nil {
			t.Fatal(err)
		}
	}
	list := begin(1)
	begun := time.Now()
	stop(0)
	t.Logf("the addresses moved within %v", time.Since(begun))
	goOn(list)
	out, err := f.Machines[1].Run(startTimeout, Cmd(f.Machines[1].daemon.bin, "status", "--control-socket", f.Machines[1].daemon.Socket))
	if err != nil || !strings.Contains(out, fmt.Sprintf("%d sessions within", len(list))) {
		t.Errorf("%v: %s", err, out)
	}
	f.keepFromGuide(t, 0)
	time.Sleep(time.Second) // it leaves the addresses where they are
	f.waitHas(t, 1)
	list = begin(0)
	m := f.Machines[1]
	begun = time.Now()
	for _, dev := range []string{"sync", "in0", "out0"} { // the plug
		if err := m.setDown(dev); err != nil {
			t.Fatal(err)
		}
	}
	m.dead = true
	for _, p := range []*Process{m.keepalived, m.conntrackd} {
		p.kill()
	}
	if err := m.daemon.Crash(); err != nil {
		t.Fatal(err)
	}
	f.waitHas(t, 0)
	t.Logf("after the crash they moved within %v", time.Since(begun))
	goOn(list)
	stopped := f.Machines[0].daemon
	if _, err := stopped.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d := f.Talk(t, ln, f.Client, IPv4) // the rules are strict
	o := d.Announce(PASV)
	o.MustRefuse(t, o.Opener, "there is no pasvport")
}
