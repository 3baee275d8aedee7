// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// FirewallPair is a Site whose firewall is a pair of machines, with keepalived,
// conntrackd and pasvport on each:
//
//	Client  --.                                         .-- Server
//	           lan --in0-- fwa, fwb (sync) --out0-- wan
//	Client2 --'                                         '-- Third
//
// The addresses of the firewall are on the machine that keepalived chose. Machine
// 0 is preferred when both run it.
type FirewallPair struct {
	*Site
	Machines [2]*PairMachine
	flags    []string
	conf     PairConf
}

// PairMachine is one of the pair.
type PairMachine struct {
	*Host
	i                      int
	daemon                 *Daemon
	keepalived, conntrackd *Process
	dead                   bool
}

// pairNAT translates both ends. The client's end is translated to an address of its
// own: what is masqueraded the kernel forgets when keepalived takes the address away,
// and conntrackd has the other machine forget it, too.
var pairNAT = Position{Name: "both-nat", Target: clientGate, Hidden: true, NAT: []NAT{{Pre: dnat, Post: snat}}}

// PairConf is what pairs differ in.
type PairConf struct {
	NoExternalCache bool // conntrackd puts what it learns into the kernel at once
	NoTrack         bool // mode NOTRACK in place of FTFW
}

func (c PairConf) String() string {
	switch {
	case c.NoTrack:
		return "notrack"
	case c.NoExternalCache:
		return "direct"
	}
	return "cache"
}

var (
	lanSecond = pair("10.7.0.3", "fd07::3")
	wanSecond = pair("203.0.113.3", "2001:db8:113::3")
	syncAddr  = [2]netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2")}
)

// NewPair builds a pair, and waits until its first machine has the addresses and
// both daemons hear each other.
func NewPair(t *testing.T, p Position, a Allow, s Subject, conf PairConf, flags ...string) *FirewallPair {
	t.Helper()
	needPrograms(t, "nft", "conntrack")
	n := NewNet(t)
	tp := &Topology{Net: n, Client: n.Host("client"), Client2: n.Host("client2"), Server: n.Host("server"), Third: n.Host("third")}
	f := &FirewallPair{Site: &Site{Topology: tp, Position: p, Allow: a, Subject: s}, flags: flags, conf: conf}
	for i := range f.Machines {
		f.Machines[i] = &PairMachine{Host: n.Host([2]string{"fwa", "fwb"}[i]), i: i}
		if _, err := f.Machines[i].unpacked("keepalived"); err != nil {
			t.Skip(err)
		}
	}
	tp.Firewalls = []*Host{f.Machines[0].Host}
	if err := f.connect(); err != nil {
		t.Fatal(err)
	}
	for _, m := range f.Machines {
		f.prepare(t, m)
	}
	f.Before(func() {
		for _, m := range f.Machines {
			m.end(t)
		}
	})
	for _, m := range f.Machines {
		f.startSync(t, m)
		f.startDaemon(t, m)
	}
	f.startKeepalived(t, f.Machines[0])
	f.waitActive(t, 0)
	f.startKeepalived(t, f.Machines[1]) // now, so that it does not take the addresses for a moment
	f.waitJoined(t)
	return f
}

// unpacked is a command of a program that scripts/peers has unpacked.
func (m *PairMachine) unpacked(name string, args ...string) (Command, error) {
	path, err := unpacked("usr/sbin/" + name)()
	return Command{Args: append([]string{path}, args...), Env: libraries()}, err
}

// connect makes the networks.
func (f *FirewallPair) connect() error {
	lan, wan, mid := f.Net.Host("lan"), f.Net.Host("wan"), f.Net.Host("mid")
	for _, sw := range []*Host{lan, wan, mid} {
		if err := sw.nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
			return err
		}
		if err := sw.setUp("br0"); err != nil {
			return err
		}
	}
	for i, l := range []struct {
		h    *Host
		name string
		sw   *Host
		addr Pair
	}{
		{f.Client, "eth0", lan, clientAddr}, {f.Client2, "eth0", lan, lanSecond}, {f.Server, "eth0", wan, serverAddr}, {f.Third, "eth0", wan, wanSecond},
		{f.Machines[0].Host, "in0", lan, nil}, {f.Machines[1].Host, "in0", lan, nil},
		{f.Machines[0].Host, "out0", wan, nil}, {f.Machines[1].Host, "out0", wan, nil},
		{f.Machines[0].Host, "sync", mid, Pair{IPv4: syncAddr[0]}}, {f.Machines[1].Host, "sync", mid, Pair{IPv4: syncAddr[1]}},
	} {
		port := fmt.Sprintf("p%d", i)
		if err := (link{a: l.h, b: l.sw, aName: l.name, bName: port, aAddr: l.addr}).up(); err != nil {
			return err
		}
		if err := l.sw.enslave(port, "br0"); err != nil {
			return err
		}
	}
	for _, h := range []*Host{f.Client, f.Client2} {
		if err := h.route(serverAddr, clientGate); err != nil {
			return err
		}
	}
	if f.Position.Hidden {
		return nil
	}
	for _, h := range []*Host{f.Server, f.Third} {
		if err := h.route(clientAddr, serverGate); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) setUp(name string) error {
	dev, err := h.nl.LinkByName(name)
	if err != nil {
		return err
	}
	return h.nl.LinkSetUp(dev)
}

func (h *Host) setDown(name string) error {
	dev, err := h.nl.LinkByName(name)
	if err != nil {
		return err
	}
	return h.nl.LinkSetDown(dev)
}

func (h *Host) enslave(name, bridge string) error {
	dev, err := h.nl.LinkByName(name)
	if err != nil {
		return err
	}
	br, err := h.nl.LinkByName(bridge)
	if err != nil {
		return err
	}
	return h.nl.LinkSetMaster(dev, br)
}

// syncRules let the machines of the pair talk on their link.
const syncRules = `insert rule inet filter input iifname "sync" accept
insert rule inet filter output oifname "sync" accept
`

// pairKey is what both daemons have.
const pairKey = "Tz1m0Ck4vWvJcX0x9d8Q2yq0bBGr5nqYf5q1yE0f7Ws=\n"

// prepare loads the ruleset and writes the files of a machine.
func (f *FirewallPair) prepare(t *testing.T, m *PairMachine) {
	t.Helper()
	m.LoadRules(t, f.Position.Ruleset(0, f.Allow))
	m.LoadRules(t, syncRules)
	for name, v := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
		"net/netfilter/nf_conntrack_tcp_be_liberal": "1",
	} {
		if err := m.Sysctl(name, v); err != nil {
			t.Fatal(err)
		}
	}
	conntrackd, err := m.unpacked("conntrackd")
	if err != nil {
		t.Fatal(err)
	}
	mode, cache := "FTFW", "DisableExternalCache off"
	switch f.conf {
	case PairConf{NoExternalCache: true}:
		cache = "DisableExternalCache on"
	case PairConf{NoTrack: true}:
		mode, cache = "NOTRACK", "DisableInternalCache off\n\t\tDisableExternalCache off"
	}
	files := map[string]string{
		"conntrackd.conf": fmt.Sprintf(conntrackdText, mode, cache, syncAddr[m.i], syncAddr[1-m.i], m.Dir, syncAddr[0], syncAddr[1]),
		"keepalived.conf": fmt.Sprintf(keepalivedText, [2]int{150, 100}[m.i], m.Dir),
		"notify":          fmt.Sprintf(notifyText, strings.Join(append(conntrackd.Env, conntrackd.Args...), " "), m.Dir),
		"pair.key":        pairKey,
	}
	for name, text := range files {
		path, err := m.File(name, text)
		if err == nil {
			err = os.Chmod(path, map[bool]os.FileMode{false: 0o600, true: 0o700}[name == "notify"]) // keepalived skips what can be executed
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// conntrackdText takes the mode, the cache, the own and the other address, the
// directory, and both addresses.
const conntrackdText = `Sync {
	Mode %s {
		%s
		CommitTimeout 1800
		PurgeTimeout 60
	}
	UDP {
		IPv4_address %s
		IPv4_Destination_Address %s
		Port 3780
		Interface sync
		SndSocketBuffer 1249280
		RcvSocketBuffer 1249280
		Checksum on
	}
}
General {
	HashSize 8192
	HashLimit 65535
	Syslog off
	LogFile %[5]s/conntrackd.log
	LockFile %[5]s/conntrackd.lock
	UNIX {
		Path %[5]s/conntrackd.sock
		Backlog 20
	}
	NetlinkBufferSize 2097152
	NetlinkBufferSizeMaxGrowth 8388608
	Filter From Userspace {
		Protocol Accept { TCP }
		Address Ignore {
			IPv4_address 127.0.0.1
			IPv4_address %[6]s
			IPv4_address %[7]s
		}
	}
}
`

// keepalivedText takes the priority and the directory.
const keepalivedText = `global_defs {
	script_user root
	vrrp_version 3
	vrrp_garp_master_repeat 2
	vrrp_garp_master_delay 1
}
vrrp_instance PAIR {
	state BACKUP
	interface sync
	virtual_router_id 51
	priority %d
	advert_int 0.1
	virtual_ipaddress {
		10.7.0.1/24 dev in0
		203.0.113.171/24 dev out0
		203.0.113.88/24 dev out0
	}
	virtual_ipaddress_excluded {
		fd07::1/64 dev in0
		2001:db8:113::171/64 dev out0
		2001:db8:113::88/64 dev out0
	}
	notify_master "%[2]s/notify primary"
	notify_backup "%[2]s/notify backup"
	notify_fault "%[2]s/notify fault"
}
`

// notifyText is what primary-backup.sh of the package does. It takes conntrackd and
// the directory.
const notifyText = `#!/bin/sh
ct() { env %s -C %s/conntrackd.conf "$@"; }
case $1 in
primary) ct -c; ct -f; ct -R; ct -B ;;
backup) ct -t; ct -n ;;
fault) ct -t ;;
esac
`

func (f *FirewallPair) start(t *testing.T, m *PairMachine, name string, args ...string) *Process {
	t.Helper()
	c, err := m.unpacked(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (f *FirewallPair) startSync(t *testing.T, m *PairMachine) {
	t.Helper()
	m.conntrackd = f.start(t, m, "conntrackd", "-C", filepath.Join(m.Dir, "conntrackd.conf"))
	sock := filepath.Join(m.Dir, "conntrackd.sock")
	if err := waitFor(startTimeout, "conntrackd", func() bool { _, err := os.Stat(sock); return err == nil }); err != nil {
		t.Fatalf("%v\n%s", err, m.conntrackd.Output())
	}
}

func (f *FirewallPair) startKeepalived(t *testing.T, m *PairMachine) {
	t.Helper()
	m.keepalived = f.start(t, m, "keepalived", "-n", "-l", "-D", "-P", "-f", filepath.Join(m.Dir, "keepalived.conf"),
		"-p", filepath.Join(m.Dir, "keepalived.pid"), "-r", filepath.Join(m.Dir, "vrrp.pid"))
}

func (f *FirewallPair) startDaemon(t *testing.T, m *PairMachine) {
	t.Helper()
	flags := []string{"--peer", netip.AddrPortFrom(syncAddr[1-m.i], 2121).String(),
		"--peer-listen", netip.AddrPortFrom(syncAddr[m.i], 2121).String(), "--peer-key", filepath.Join(m.Dir, "pair.key")}
	c, socket := f.DaemonCommand(t, m.Host, append(flags, f.flags...)...)
	p, err := m.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	m.daemon = &Daemon{Process: p, Host: m.Host, Socket: socket, bin: c.Args[0]}
	if err := p.WaitLog(startTimeout, "msg=ready"); err != nil {
		m.daemon.stopped = true
		t.Fatal(err)
	}
}

// has reports whether a machine has the addresses.
func (m *PairMachine) has(a netip.Addr) bool {
	list, err := m.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return false
	}
	for _, x := range list {
		if ip, ok := netip.AddrFromSlice(x.IP); ok && ip.Unmap() == a {
			return true
		}
	}
	return false
}

// waitActive waits until a machine, and it alone, has the addresses.
func (f *FirewallPair) waitActive(t testing.TB, i int) {
	t.Helper()
	m, other := f.Machines[i], f.Machines[1-i]
	err := waitFor(startTimeout, "the addresses", func() bool {
		return m.has(serverGate[IPv4]) && m.has(serverGate[IPv6]) && (other.dead || !other.has(serverGate[IPv4]))
	})
	if err != nil {
		t.Fatalf("%v on %s\n%s", err, m.Role, lastLines(m.keepalived.Output(), 30))
	}
}

// waitJoined waits until both daemons are heard by the other one.
func (f *FirewallPair) waitJoined(t testing.TB) {
	t.Helper()
	for _, m := range f.Machines {
		if err := m.daemon.WaitLog(startTimeout, `msg="peer connected"`); err != nil {
			t.Fatal(err)
		}
	}
}

// waitCarried waits until the other machine's conntrackd has a control connection.
func (f *FirewallPair) waitCarried(t testing.TB, to int, d *Dialogue) {
	t.Helper()
	m := f.Machines[to]
	port := fmt.Sprintf("sport=%d ", addrOf(d.Client.LocalAddr()).Port())
	err := waitFor(startTimeout, "conntrackd has it", func() bool {
		var out string
		if f.conf.NoExternalCache {
			out, _ = m.Run(5*time.Second, Cmd("conntrack", "-L", "-p", "tcp"))
		} else {
			c, _ := m.unpacked("conntrackd", "-C", filepath.Join(m.Dir, "conntrackd.conf"), "-e")
			out, _ = m.Run(5*time.Second, c)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, port) && strings.Contains(line, "ESTABLISHED") {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Crash takes a machine away, with all that is on it, at once.
func (f *FirewallPair) Crash(t testing.TB, i int) {
	t.Helper()
	m := f.Machines[i]
	// Nothing of what the end of an interface changes in its kernel is told any more.
	down := func(names ...string) {
		for _, name := range names {
			if err := m.setDown(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	down("sync")
	m.dead = true
	for _, p := range []*Process{m.keepalived, m.conntrackd} {
		p.kill()
	}
	if err := m.daemon.Crash(); err != nil {
		t.Fatal(err)
	}
	down("in0", "out0")
	f.waitActive(t, 1-i)
}

// kill ends a process that was started here, and its children.
func (p *Process) kill() {
	if p.Running() {
		_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
		_, _ = p.Wait(10 * time.Second)
	}
}

// Move has the other machine take the addresses over from machine i, as before an
// upgrade.
func (f *FirewallPair) Move(t testing.TB, i int) {
	t.Helper()
	m := f.Machines[i]
	if err := m.keepalived.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.waitActive(t, 1-i)
	if _, err := m.keepalived.Wait(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// Back has machine 0, which was moved from, take the addresses again.
func (f *FirewallPair) Back(t *testing.T) {
	t.Helper()
	f.startKeepalived(t, f.Machines[0])
	f.waitActive(t, 0)
}

// end stops what runs on a machine.
func (m *PairMachine) end(t testing.TB) {
	if m.daemon != nil {
		m.daemon.end(t)
	}
	for _, p := range []*Process{m.keepalived, m.conntrackd} {
		if p != nil {
			p.kill()
		}
	}
}
