// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
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
	pauses   pauses
	strange  bool // the daemons have no peer configured
	split    bool // the machines cannot reach each other
	hurry    bool // see takesOver
	groups   []vrrpGroup
}

// pauses are the longest times without data on data connections.
type pauses struct {
	mu   sync.Mutex
	list []time.Duration
}

func (p *pauses) add(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, d)
}

// longest is the longest of all pauses, or zero.
func (p *pauses) longest() (d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.list {
		d = max(d, x)
	}
	return d
}

// PairMachine is one of the pair.
type PairMachine struct {
	*Host
	i                      int
	daemon                 *Daemon
	keepalived, conntrackd *Process
	dead                   bool
}

// pairNAT translates both ends. The client is translated to an extra address: the
// kernel drops masqueraded connections when keepalived removes the address, and
// conntrackd then removes them on the other machine, too.
var pairNAT = Position{Name: "both-nat", Target: clientGate, Hidden: true, NAT: []NAT{{Pre: dnat, Post: snat}}}

// pairVirtual makes the machines themselves a virtual FTP server.
var pairVirtual = Position{Name: "virtual", Target: clientGate}

// virtualText takes both addresses of the virtual server.
const virtualText = `virtual-servers:
  - name: ftp
    listen: [%s, "%s"]
    check: {interval: off}
    servers:
      - {name: one, address: [%s, "%s"]}
`

// PairConf is how pairs differ.
type PairConf struct {
	NoExternalCache bool // conntrackd puts what it receives into the kernel at once
	NoTrack         bool // mode NOTRACK instead of FTFW
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
// both daemons are connected.
func NewPair(t *testing.T, p Position, a Allow, s Subject, conf PairConf, flags ...string) *FirewallPair {
	t.Helper()
	f := NewPairOnly(t, p, a, s, conf, flags...)
	f.StartDaemons(t)
	return f
}

// NewPairOnly builds a pair without the daemons, and waits until its first machine
// has the addresses.
func NewPairOnly(t *testing.T, p Position, a Allow, s Subject, conf PairConf, flags ...string) *FirewallPair {
	t.Helper()
	return newPair(t, p, a, s, conf, oneGroup, flags...)
}

func newPair(t *testing.T, p Position, a Allow, s Subject, conf PairConf, groups []vrrpGroup, flags ...string) *FirewallPair {
	t.Helper()
	f := bareMachines(t, p, a, s, groups)
	f.flags, f.conf = flags, conf
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
	}
	for i, m := range f.Machines { // one after the other, so that neither briefly takes addresses of the other
		f.startKeepalived(t, m)
		for _, g := range groups {
			if g.preferred == i {
				f.waitGroup(t, g, i)
			}
		}
	}
	return f
}

// bareMachines makes the hosts and networks of a pair, with nothing running on
// them.
func bareMachines(t *testing.T, p Position, a Allow, s Subject, groups []vrrpGroup) *FirewallPair {
	t.Helper()
	needPrograms(t, "nft", "conntrack")
	n := NewNet(t)
	tp := &Topology{Net: n, Client: n.Host("client"), Client2: n.Host("client2"), Server: n.Host("server"), Third: n.Host("third")}
	f := &FirewallPair{Site: &Site{Topology: tp, Position: p, Allow: a, Subject: s}, groups: groups}
	for i := range f.Machines {
		f.Machines[i] = &PairMachine{Host: n.Host([2]string{"fwa", "fwb"}[i]), i: i}
		if _, err := f.Machines[i].unpacked("keepalived"); err != nil {
			t.Skip(err)
		}
	}
	for _, h := range []*Host{tp.Client, tp.Client2, tp.Server, tp.Third} {
		// A SYN is repeated each second: on a busy machine a failover takes long.
		_ = h.Sysctl("net/ipv4/tcp_syn_linear_timeouts", "60") // since 6.5
		// Tests listen on ports in the range of --tls.
		if err := h.Sysctl("net/ipv4/ip_local_reserved_ports", tlsRange); err != nil {
			t.Fatal(err)
		}
	}
	tp.Firewalls = []*Host{f.Machines[0].Host}
	if err := f.connect(); err != nil {
		t.Fatal(err)
	}
	return f
}

// StartDaemons starts pasvport on both machines, and waits until the two are
// connected.
func (f *FirewallPair) StartDaemons(t *testing.T) {
	t.Helper()
	for _, m := range f.Machines {
		f.startDaemon(t, m)
	}
	if !f.strange {
		f.waitJoined(t, [2]int{})
	}
}

// unpacked is a command of a program that scripts/peers unpacked.
func (m *PairMachine) unpacked(name string, args ...string) (Command, error) {
	path, err := unpacked("usr/sbin/" + name)()
	return Command{Args: append([]string{path}, args...), Env: libraries()}, err
}

// connect creates the networks.
func (f *FirewallPair) connect() error {
	lan, wan, mid := f.Net.Host("lan"), f.Net.Host("wan"), f.Net.Host("mid")
	for _, sw := range []*Host{lan, wan, mid} {
		if err := sw.Links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
			return err
		}
		if err := sw.Up("br0"); err != nil {
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
	gates := [2]Pair{clientGate, clientGate}
	if n := len(f.groups); n > 0 && f.groups[n-1].in != nil {
		gates[1] = f.groups[n-1].in
	}
	for i, h := range []*Host{f.Client, f.Client2} {
		if err := h.route(serverAddr, gates[i]); err != nil {
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

func (h *Host) setDown(name string) error {
	dev, err := h.Links.LinkByName(name)
	if err != nil {
		return err
	}
	return h.Links.LinkSetDown(dev)
}

func (h *Host) enslave(name, bridge string) error {
	dev, err := h.Links.LinkByName(name)
	if err != nil {
		return err
	}
	br, err := h.Links.LinkByName(bridge)
	if err != nil {
		return err
	}
	return h.Links.LinkSetMaster(dev, br)
}

// The range of data ports in tests of --tls, and a port in it.
const (
	tlsRange     = "50000-50100"
	tlsRangePort = 50050
)

// syncRules let the machines of the pair talk on their link.
const syncRules = `insert rule inet filter input iifname "sync" accept
insert rule inet filter output oifname "sync" accept
`

// pairKey is the key that both daemons share.
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
		"keepalived.conf": f.keepalivedConf(m),
		"notify":          fmt.Sprintf(notifyText, strings.Join(append(conntrackd.Env, conntrackd.Args...), " "), m.Dir),
		"pair.key":        pairKey,
	}
	for name, text := range files {
		path, err := m.File(name, text)
		if err == nil {
			err = os.Chmod(path, map[bool]os.FileMode{false: 0o600, true: 0o700}[name == "notify"]) // keepalived skips executable files
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// conntrackdText takes the mode, the cache, this and the other machine's address,
// the directory, and both addresses.
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

// vrrpGroup are addresses that move together.
type vrrpGroup struct {
	preferred int // machine that should have them
	in, out   Pair
	more      []netip.Addr // further addresses on out
}

// oneGroup has all addresses on one machine.
var oneGroup = []vrrpGroup{{0, clientGate, serverGate, []netip.Addr{snatAddr[IPv4], snatAddr[IPv6]}}}

// keepalived is the configuration of a machine.
func (f *FirewallPair) keepalivedConf(m *PairMachine) string {
	var b strings.Builder
	b.WriteString(keepalivedText)
	for i, g := range f.groups {
		var lists [2]strings.Builder // IPv4, and IPv6, which VRRP accepts only beside it
		add := func(a netip.Addr, dev string) {
			switch {
			case a.Is4():
				fmt.Fprintf(&lists[0], "\t\t%s/24 dev %s\n", a, dev)
			case a.Is6():
				fmt.Fprintf(&lists[1], "\t\t%s/64 dev %s\n", a, dev)
			}
		}
		for _, family := range []Family{IPv4, IPv6} {
			add(g.in[family], "in0")
			add(g.out[family], "out0")
		}
		for _, a := range g.more {
			add(a, "out0")
		}
		priority := 100
		if m.i == g.preferred {
			priority = 150
		}
		fmt.Fprintf(&b, instanceText, i+1, 51+i, priority, 0.2*float64(slowness), &lists[0], &lists[1], m.Dir)
		if len(f.groups) == 1 { // otherwise a machine that gives up one group is not idle
			fmt.Fprintf(&b, "\tnotify_backup \"%[1]s/notify backup\"\n\tnotify_fault \"%[1]s/notify fault\"\n", m.Dir)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

const keepalivedText = `global_defs {
	script_user root
	vrrp_version 3
	vrrp_garp_master_repeat 2
	vrrp_garp_master_delay 1
	vrrp_higher_prio_send_advert true
	vrrp_priority -20
}
`

// instanceText takes the group's number, its id, the priority, how many seconds pass
// between two advertisements, both lists of addresses, and the directory.
const instanceText = `vrrp_instance PAIR%d {
	state BACKUP
	interface sync
	virtual_router_id %d
	priority %d
	advert_int %.1f
	virtual_ipaddress {
%s	}
	virtual_ipaddress_excluded {
%s	}
	notify_master "%s/notify primary"
`

// notifyText does what primary-backup.sh of the package does. It takes conntrackd
// and the directory.
const notifyText = `#!/bin/sh
ct() { env %[1]s -C %[2]s/conntrackd.conf "$@"; }
case $1 in
primary) ct -c; ct -f; ct -R; ct -B; echo >>%[2]s/commits ;;
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

// clean removes what killed programs left.
func (m *PairMachine) clean(names ...string) {
	for _, name := range names {
		os.Remove(filepath.Join(m.Dir, name))
	}
}

func (f *FirewallPair) startSync(t *testing.T, m *PairMachine) {
	t.Helper()
	sock := filepath.Join(m.Dir, "conntrackd.sock")
	m.clean("conntrackd.sock", "conntrackd.lock")
	m.conntrackd = f.start(t, m, "conntrackd", "-C", filepath.Join(m.Dir, "conntrackd.conf"))
	if err := waitFor(startTimeout, "conntrackd", func() bool { _, err := os.Stat(sock); return err == nil }); err != nil {
		t.Fatalf("%v\n%s", err, m.conntrackd.Output())
	}
}

func (f *FirewallPair) startKeepalived(t *testing.T, m *PairMachine) {
	t.Helper()
	m.clean("keepalived.pid", "vrrp.pid")
	m.keepalived = f.start(t, m, "keepalived", "-n", "-l", "-D", "-P", "-f", filepath.Join(m.Dir, "keepalived.conf"),
		"-p", filepath.Join(m.Dir, "keepalived.pid"), "-r", filepath.Join(m.Dir, "vrrp.pid"))
}

func (f *FirewallPair) startDaemon(t *testing.T, m *PairMachine) {
	t.Helper()
	var file []string
	if f.Position.Name == pairVirtual.Name {
		path, err := m.File("pasvport.yaml", fmt.Sprintf(virtualText, clientGate[IPv4], clientGate[IPv6], serverAddr[IPv4], serverAddr[IPv6]))
		if err != nil {
			t.Fatal(err)
		}
		file = []string{"--config", path}
	}
	flags := []string{"--peer", netip.AddrPortFrom(syncAddr[1-m.i], 2121).String(),
		"--peer-listen", netip.AddrPortFrom(syncAddr[m.i], 2121).String(), "--peer-key", filepath.Join(m.Dir, "pair.key")}
	if f.strange {
		flags = nil
	}
	c, socket := f.DaemonCommand(t, m.Host, slices.Concat(flags, file, f.flags)...)
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
	list, err := m.Links.AddrList(nil, netlink.FAMILY_ALL)
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

// waitActive waits until this machine, and no other, has the addresses.
func (f *FirewallPair) waitActive(t testing.TB, i int) {
	t.Helper()
	for _, g := range f.groups {
		f.waitGroup(t, g, i)
	}
}

// waitGroup waits until this machine, and no other, has the addresses of a group.
func (f *FirewallPair) waitGroup(t testing.TB, g vrrpGroup, i int) {
	t.Helper()
	m, other := f.Machines[i], f.Machines[1-i]
	err := waitFor(startTimeout, "the addresses", func() bool { return m.hasAll(g) && (other.dead || !other.hasAny(g)) })
	if err != nil {
		t.Fatalf("%v on %s\n%s", err, m.Role, lastLines(m.keepalived.Output(), 30))
	}
}

func (g vrrpGroup) addresses() (list []netip.Addr) {
	for _, p := range []Pair{g.in, g.out} {
		for _, a := range p {
			list = append(list, a)
		}
	}
	return append(list, g.more...)
}

func (m *PairMachine) hasAll(g vrrpGroup) bool {
	return !slices.ContainsFunc(g.addresses(), func(a netip.Addr) bool { return !m.has(a) })
}

func (m *PairMachine) hasAny(g vrrpGroup) bool { return slices.ContainsFunc(g.addresses(), m.has) }

// takesOver calls do, which makes machine i take the addresses over. Packets that
// arrive before conntrackd has committed find stale entries or none, and may have
// to wait; with hurry the test does not wait for the commit.
func (f *FirewallPair) takesOver(t testing.TB, i int, do func()) {
	t.Helper()
	m := f.Machines[i]
	commits := func() int {
		b, _ := os.ReadFile(filepath.Join(m.Dir, "commits"))
		return len(b)
	}
	before := commits()
	do()
	f.waitActive(t, i)
	if f.hurry {
		return
	}
	if err := waitFor(startTimeout, "commit", func() bool { return commits() > before }); err != nil {
		t.Fatalf("%v on %s", err, m.Role)
	}
}

// joined is how often each daemon has joined the other one.
func (f *FirewallPair) joined() (n [2]int) {
	for i, m := range f.Machines {
		n[i] = strings.Count(m.daemon.Output(), `msg="peer connected"`)
	}
	return n
}

// waitJoined waits until each daemon has joined the other one once more than
// before.
func (f *FirewallPair) waitJoined(t testing.TB, before [2]int) {
	t.Helper()
	var now [2]int
	if err := waitFor(startTimeout, "link of the daemons", func() bool {
		now = f.joined()
		return now[0] > before[0] && now[1] > before[1]
	}); err != nil {
		t.Fatalf("%v: joined %v times, before %v\n%s\n%s", err, now, before,
			lastLines(f.Machines[0].daemon.Output(), 10), lastLines(f.Machines[1].daemon.Output(), 10))
	}
}

// waitSynced waits until the conntrackd of a machine has all established connections
// that the other machine's kernel has had since then. conntrackd sends them in any order:
// without an external cache a data connection that comes before its control connection is
// refused by the kernel and lost, until all are asked for once more.
func (f *FirewallPair) waitSynced(t testing.TB, to int) {
	t.Helper()
	established := func(out string) map[string]bool {
		list := map[string]bool{}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "ESTABLISHED") && !strings.Contains(line, "="+syncAddr[0].String()+" ") {
				list[entryTuple.FindString(line)] = true
			}
		}
		return list
	}
	want, asked := established(f.kernelEntries(1-to)), time.Now()
	if err := waitFor(startTimeout, "conntrackd has all", func() bool {
		has := established(f.carriedEntries(to, filepath.Join(f.Machines[to].Dir, "conntrackd.conf")))
		still := established(f.kernelEntries(1 - to))
		for tuple := range want {
			if has[tuple] || !still[tuple] {
				delete(want, tuple)
			}
		}
		if len(want) > 0 && f.conf.NoExternalCache && time.Since(asked) > time.Second {
			f.Machines[to].resync(t)
			asked = time.Now()
		}
		return len(want) == 0
	}); err != nil {
		t.Fatalf("%v: %s lacks %v", err, f.Machines[to].Role, want)
	}
}

var entryTuple = regexp.MustCompile(`src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)`)

// kernelEntries lists the TCP connections that a machine's kernel has.
func (f *FirewallPair) kernelEntries(i int) (list string) {
	for _, family := range []string{"ipv4", "ipv6"} {
		out, _ := f.Machines[i].Run(10*time.Second, Cmd("conntrack", "-L", "-f", family, "-p", "tcp"))
		list += out
	}
	return list
}

// carriedEntries lists the TCP connections that the conntrackd of a machine, which has
// this configuration, has for the other machine.
func (f *FirewallPair) carriedEntries(i int, conf string) string {
	if f.conf.NoExternalCache {
		return f.kernelEntries(i)
	}
	c, _ := f.Machines[i].unpacked("conntrackd", "-C", conf, "-e")
	out, _ := f.Machines[i].Run(10*time.Second, c)
	return out
}

// waitCarried waits until the other machine's conntrackd has a control connection.
func (f *FirewallPair) waitCarried(t testing.TB, to int, d *Dialogue) {
	t.Helper()
	f.waitEntry(t, to, filepath.Join(f.Machines[to].Dir, "conntrackd.conf"), d.Client)
}

// waitEntry waits until the conntrackd of a machine, which has this configuration, has
// the connection of which c is the end that opened it.
func (f *FirewallPair) waitEntry(t testing.TB, to int, conf string, c net.Conn) {
	t.Helper()
	port := fmt.Sprintf("sport=%d ", addrOf(c.LocalAddr()).Port())
	var has string
	err := waitFor(startTimeout, "conntrackd has it", func() bool {
		for line := range strings.Lines(f.carriedEntries(to, conf)) {
			if !strings.Contains(line, port) {
				continue
			}
			if has = line; strings.Contains(line, "ESTABLISHED") {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatalf("the connection with %s: %v; the last that it had is %q", port, err, has)
	}
}

// Crash takes a machine down at once, with all that runs on it.
func (f *FirewallPair) Crash(t testing.TB, i int) {
	t.Helper()
	m := f.Machines[i]
	// Between the ends of its interfaces it must not tell anyone that a network is
	// unreachable: a machine without power does not.
	for _, family := range []string{"-4", "-6"} {
		if out, err := m.Run(10*time.Second, Cmd("ip", family, "route", "replace", "blackhole", "default", "metric", "9999")); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	crash := func() {
		m.dead = true
		// Stop it first: it must do nothing more that the other machine cannot
		// learn of, nor report what losing its interfaces changes in its kernel.
		if err := m.daemon.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"sync", "in0", "out0"} {
			if err := m.setDown(name); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range []*Process{m.keepalived, m.conntrackd} {
			p.kill()
		}
		if err := m.daemon.Crash(); err != nil {
			t.Fatal(err)
		}
	}
	if f.Machines[1-i].hasAny(f.groups[0]) { // it already has the addresses
		crash()
		f.waitActive(t, 1-i)
		return
	}
	f.takesOver(t, 1-i, crash)
}

// kill ends a process that was started here, and its children.
func (p *Process) kill() {
	if p.Running() {
		_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
		_, _ = p.Wait(10 * time.Second)
	}
}

// Move makes the other machine take the addresses over from machine i, as before
// an upgrade.
func (f *FirewallPair) Move(t testing.TB, i int) {
	t.Helper()
	m := f.Machines[i]
	f.takesOver(t, 1-i, func() {
		if err := m.keepalived.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := m.keepalived.Wait(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// Back makes machine 0 take the addresses again after a Move.
func (f *FirewallPair) Back(t *testing.T) {
	t.Helper()
	f.takesOver(t, 0, func() { f.startKeepalived(t, f.Machines[0]) })
}

// Return restarts a crashed machine with nothing in its kernel, and makes it take
// the addresses once it has the other machine's state.
func (f *FirewallPair) Return(t *testing.T, i int, carried func()) {
	t.Helper()
	m := f.Machines[i]
	for _, c := range []Command{
		Cmd("ip", "addr", "flush", "dev", "in0", "scope", "global"), Cmd("ip", "addr", "flush", "dev", "out0", "scope", "global"),
		Cmd("conntrack", "-F"), Cmd("nft", "flush", "ruleset"),
	} {
		if out, err := m.Run(10*time.Second, c); err != nil {
			t.Fatalf("%v: %v: %s", c.Args, err, out)
		}
	}
	f.prepare(t, m)
	for _, name := range []string{"in0", "out0", "sync"} {
		if err := m.Up(name); err != nil {
			t.Fatal(err)
		}
	}
	m.dead = false
	joined := f.joined()
	joined[i] = 0
	f.startSync(t, m)
	f.startDaemon(t, m)
	f.waitJoined(t, joined)
	m.resync(t)
	carried()
	if i > 0 { // only machine 0 is preferred
		f.startKeepalived(t, m)
		f.waitActive(t, 0)
		return
	}
	f.takesOver(t, 0, func() { f.startKeepalived(t, m) })
}

// resync makes conntrackd ask for the other machine's entries.
func (m *PairMachine) resync(t testing.TB) {
	t.Helper()
	c, err := m.unpacked("conntrackd", "-C", filepath.Join(m.Dir, "conntrackd.conf"), "-n")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := m.Run(10*time.Second, c); err != nil {
		t.Fatalf("conntrackd -n: %v: %s", err, out)
	}
}

// Cut drops matching packets on the link between the machines, or all if match is
// empty, until Mend.
func (f *FirewallPair) Cut(t testing.TB, match string) {
	t.Helper()
	for _, m := range f.Machines {
		m.LoadRules(t, fmt.Sprintf(cutText, match))
	}
}

// Mend undoes Cut.
func (f *FirewallPair) Mend(t testing.TB) {
	t.Helper()
	for _, m := range f.Machines {
		m.LoadRules(t, "delete table inet cut")
	}
}

// cutText takes a match.
const cutText = `table inet cut {
	chain pre {
		type filter hook prerouting priority -400; policy accept;
		iifname "sync" %s drop
	}
}
`

// Split cuts the machines off from each other, so that both take the addresses.
// The other machine takes them last and so gets the packets.
func (f *FirewallPair) Split(t testing.TB) {
	t.Helper()
	f.Cut(t, "")
	f.split = true
	m := f.Machines[1]
	if err := waitFor(startTimeout, "the addresses", func() bool { return m.hasAll(f.groups[0]) }); err != nil {
		t.Fatalf("%v on %s", err, m.Role)
	}
	f.lead(t, 1)
}

// Unite ends a split.
func (f *FirewallPair) Unite(t testing.TB) {
	t.Helper()
	f.Mend(t)
	f.split = false
	f.waitActive(t, 0)
	f.waitLinked(t)
	f.lead(t, 0)
}

// waitLinked waits until the daemons are connected.
func (f *FirewallPair) waitLinked(t testing.TB) {
	t.Helper()
	for _, m := range f.Machines {
		if err := waitFor(startTimeout, "link of the daemons", func() bool {
			s, err := m.daemon.Status()
			peer, _ := s["peer"].(Object)
			return err == nil && peer["link"] == "up"
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// lead makes all hosts send packets for the firewall's addresses to one machine,
// whatever the other one announces. Otherwise, when two machines have an address,
// the one heard last gets the packets.
func (f *FirewallPair) lead(t testing.TB, i int) {
	t.Helper()
	for h, dev := range map[*Host]string{f.Client: "in0", f.Client2: "in0", f.Server: "out0", f.Third: "out0"} {
		at, err := f.Machines[i].Links.LinkByName(dev)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range f.groups[0].addresses() {
			if (dev == "in0") != (a == clientGate[IPv4] || a == clientGate[IPv6]) {
				continue
			}
			out, err := h.Run(10*time.Second, Cmd("ip", "neigh", "replace", a.String(), "lladdr", at.Attrs().HardwareAddr.String(), "dev", "eth0", "nud", "permanent"))
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
}

// open lists what is open on a machine for data connections, in the daemon and in
// the kernel; empty: nothing.
func (m *PairMachine) open(t testing.TB) string {
	t.Helper()
	status, err := m.daemon.Status()
	if err != nil {
		return err.Error()
	}
	expected, err := m.Run(10*time.Second, Cmd("conntrack", "-L", "expect"))
	if err != nil {
		return err.Error()
	}
	rules := m.Rules(t)
	if status["pinholes_open"] == 0.0 && !strings.Contains(expected, "dport=") && openElements(rules) == 0 {
		return ""
	}
	return fmt.Sprintf("%v pinholes\n%s\n%s", status["pinholes_open"], expected, rules)
}

// NothingOpen waits until nothing is open on any machine.
func (f *FirewallPair) NothingOpen(t testing.TB) {
	t.Helper()
	for _, m := range f.Machines {
		if m.dead || !m.daemon.Running() {
			continue
		}
		var left string
		if err := waitFor(15*time.Second, "end of all that was open", func() bool { left = m.open(t); return left == "" }); err != nil {
			t.Errorf("%s: %v: %s", m.Role, err, left)
		}
	}
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
