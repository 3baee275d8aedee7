// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The subjects that only the benchmark uses.
var (
	// Direct has no firewall: the limit of the load generator.
	Direct = Subject{Name: "direct"}
	// Open is a firewall that lets everything through.
	Open = Subject{Name: "open"}
	// FastPath is a strategy with --fast-path.
	FastPath = Subject{Name: "fast-path", Strategy: "expectation"}
	// Proxy is Debian's userspace proxy, package ftp-proxy.
	Proxy = Subject{Name: "ftp-proxy"}
	// Floor is the least that a gateway in user space can do: scripts/bench.d/floor.c,
	// with every line queued.
	Floor = Subject{Name: "floor"}
	// FloorAnnounced is the same with nothing queued but the announcements.
	FloorAnnounced = Subject{Name: "floor-announced"}
)

func benchSubjects(t *testing.T, p Position) []Subject {
	list := []Subject{Open, KernelHelper, Expectation, Claim, FastPath}
	list = append(list, otherBuilds(t)...)
	if _, err := unpacked("usr/sbin/ftp-proxy")(); err == nil {
		list = append(list, Proxy)
	} else {
		fmt.Fprintln(os.Stderr, "without ftp-proxy:", err)
	}
	if !p.Hidden { // both change no address
		list = append(list, Floor, FloorAnnounced, Direct)
	}
	wanted, err := regexp.Compile(*benchSubject)
	if err != nil {
		t.Fatalf("-bench.subjects: %v", err)
	}
	return slices.DeleteFunc(list, func(s Subject) bool { return !wanted.MatchString(s.Name) })
}

// otherBuilds are those of -bench.against. A name that ends in "fast-path" turns
// the fast path on.
func otherBuilds(t *testing.T) (list []Subject) {
	for _, s := range strings.FieldsFunc(*benchAgainst, func(r rune) bool { return r == ',' }) {
		name, file, ok := strings.Cut(s, "=")
		if !ok {
			t.Fatalf("-bench.against: %s: want NAME=FILE", s)
		}
		list = append(list, Subject{Name: name, Strategy: Expectation.Strategy, Program: file})
	}
	return list
}

// rewrites reports whether the subject changes announcements.
func (s Subject) rewrites() bool { return s.Kernel || s.Strategy != "" || s.Name == Proxy.Name }

// bench is a subject with a client and a server, each a process of the load
// generator in its own namespace.
type bench struct {
	subject    Subject
	site       *Site // nil without a firewall
	client     *loadClient
	clientHost *Host
	processes  []int // processes of the load generator
	daemon     *Daemon
}

func newBench(t *testing.T, p Position, s Subject) *bench {
	b := &bench{subject: s}
	var server *Host
	to := netip.AddrPortFrom(serverAddr[IPv4], 21)
	if s == Direct {
		b.clientHost, server = directly(t)
	} else {
		b.site = NewSiteOnly(t, p, AllowRelated, s)
		b.clientHost, server = b.site.Client, b.site.Server
		to = b.site.Dial(b.clientHost, IPv4, 0)
		ephemeral(t, b.site.Firewalls[0], "1024 65535")
		b.startSubject(t)
	}
	b.startEnds(t, to, server)
	return b
}

// startEnds starts the load generator.
func (b *bench) startEnds(t *testing.T, to netip.AddrPort, server *Host) {
	if b.clientHost == nil {
		b.clientHost = b.site.Client
	}
	ephemeral(t, b.clientHost, endPorts)
	ephemeral(t, server, endPorts)
	listen := netip.AddrPortFrom(serverAddr[IPv4], 21)
	p1, err := server.Start(Cmd(loadBinary(t), "serve", listen.String()))
	if err == nil {
		err = p1.WaitLog(startTimeout, "ready")
	}
	if err != nil {
		t.Fatal(err)
	}
	b.client = startLoad(t, b.clientHost, to)
	b.processes = []int{p1.Pid, b.client.pid}
}

// endPorts are the local ports of the load generator's connections. It listens on
// the others (scripts/bench.d/load).
const endPorts = "1024 19999"

// ephemeral sets the local port range of a host's connections.
func ephemeral(t *testing.T, h *Host, ports string) {
	if err := h.Sysctl("net/ipv4/ip_local_port_range", ports); err != nil {
		t.Fatal(err)
	}
}

// directly returns two hosts with nothing between them.
func directly(t *testing.T) (client, server *Host) {
	n := NewNet(t)
	client, server = n.Host("client"), n.Host("server")
	near := Pair{IPv4: netip.MustParseAddr("203.0.113.3")}
	if err := (link{client, server, "eth0", "eth0", near, Pair{IPv4: serverAddr[IPv4]}}).up(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func (b *bench) startSubject(t *testing.T) {
	fw := b.site.Firewalls[0]
	switch b.subject {
	case Open:
		fw.LoadRules(t, "insert rule inet filter forward accept")
	case Proxy:
		startProxy(t, b.site)
	case Floor:
		startFloor(t, b.site, "@ih,0,8 >= 0")
	case FloorAnnounced:
		startFloor(t, b.site, "@ih,0,32 { 0x32323720, 0x504f5254 }") // "227 ", "PORT"
	case KernelHelper:
		b.site.StartSubject(t)
	default:
		b.start(t)
	}
}

// start starts pasvport as people run it: with each pinhole logged.
func (b *bench) start(t *testing.T) {
	flags := []string{"--log-level", "info"}
	if strings.HasSuffix(b.subject.Name, FastPath.Name) {
		flags = append(flags, "--fast-path", "auto")
	}
	b.daemon = b.site.StartDaemon(t, b.site.Firewalls[0], flags...)
}

// restart stops pasvport.
func (b *bench) restart(t *testing.T) {
	if _, err := b.daemon.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// startProxy redirects connections to the server into ftp-proxy.
func startProxy(t *testing.T, s *Site) {
	fw := s.Firewalls[0]
	program, err := unpacked("usr/sbin/ftp-proxy")()
	if err != nil {
		t.Fatal(err)
	}
	fw.LoadRules(t, `insert rule inet filter input accept
		insert rule inet filter output accept
		table inet proxy {
			chain pre {
				type nat hook prerouting priority dstnat - 1; policy accept;
				iifname "in*" tcp dport 21 redirect to :2121
			}
		}`)
	config, err := fw.File("ftp-proxy.conf", fmt.Sprintf(`ServerType standalone
Port 2121
DestinationAddress %s
AllowTransProxy yes
MaxClients 512
ForkLimit 1000000
LogDestination %s
LogLevel ERR
PidFile %s
`, s.ServerAddr(IPv4), filepath.Join(fw.Dir, "ftp-proxy.log"), filepath.Join(fw.Dir, "ftp-proxy.pid")))
	if err == nil {
		_, err = fw.Start(Command{Args: []string{program, "-n", "-d", "-f", config}, Env: libraries()})
	}
	if err == nil {
		err = fw.WaitListen(startTimeout, "tcp", 2121)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startFloor queues the wanted packets of control connections to floor.
func startFloor(t *testing.T, s *Site, wanted string) {
	needPrograms(t, "iptables-nft-restore", "gcc")
	fw := s.Firewalls[0]
	queues := Command{Args: []string{"iptables-nft-restore", "--noflush"}, Stdin: `*mangle
:FLOOR0 -
:FLOOR1 -
-A FLOOR0 -j NFQUEUE --queue-num 0
-A FLOOR1 -j NFQUEUE --queue-num 1
COMMIT
`}
	if out, err := fw.Run(startTimeout, queues); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fw.LoadRules(t, fmt.Sprintf(`table ip mangle {
		ct helper floor {
			type "sane" protocol tcp
		}
		chain divert {
			jhash ct id mod 2 == 0 goto FLOOR0
			goto FLOOR1
		}
		chain floor {
			type filter hook prerouting priority mangle; policy accept;
			tcp dport 21 ct state new ct helper set "floor"
			tcp dport 21 %[1]s goto divert
			tcp sport 21 %[1]s goto divert
		}
	}`, wanted))
	for _, queue := range []string{"0", "1"} {
		p, err := fw.Start(Cmd(built(t, "floor", "gcc", "-O2", "-o"), queue))
		if err == nil {
			err = p.WaitLog(startTimeout, "ready")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func loadBinary(t *testing.T) string { return built(t, "load", "go", "build", "-o") }

// binaries are the programs of scripts/bench.d, each built once, by name.
var binaries = map[string]string{}

// built returns a program that a compiler makes of its source.
func built(t *testing.T, name string, compiler ...string) string {
	t.Helper()
	if binaries[name] == "" {
		path := filepath.Join(os.TempDir(), fmt.Sprintf("%s%s-%d", namePrefix, name, os.Getpid()))
		source := "../scripts/bench.d/" + name
		if compiler[0] == "gcc" {
			source += ".c"
		}
		if out, err := exec.Command(compiler[0], append(compiler[1:], path, source)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		binaries[name] = path
		t.Cleanup(func() { os.Remove(path); delete(binaries, name) })
	}
	return binaries[name]
}

// request and result are Request and Answer of the load generator.
type request struct {
	Do, Mode        string
	Sessions, Count int
	Time            time.Duration
}

type result struct {
	Count   int
	Elapsed time.Duration
	Times   []time.Duration
	Error   string
}

// loadClient is the client process of the load generator.
type loadClient struct {
	pid int
	in  *json.Encoder
	out *json.Decoder
}

func startLoad(t *testing.T, h *Host, to netip.AddrPort) *loadClient {
	t.Helper()
	cmd := h.prepare(Cmd(loadBinary(t), "drive", to.String()))
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := errors.Join(err1, err2, h.Do(cmd.Start)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return &loadClient{cmd.Process.Pid, json.NewEncoder(in), json.NewDecoder(out)}
}

// ask sends a request to the load generator.
func (b *bench) ask(t *testing.T, r request) result {
	t.Helper()
	var a result
	if err := b.client.in.Encode(r); err != nil {
		t.Fatal(err)
	}
	if err := b.client.out.Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.Error != "" {
		if b.daemon != nil {
			t.Log(lastLines(b.daemon.Output(), 20))
		}
		t.Fatalf("%s: %+v: %s", b.subject.Name, r, a.Error)
	}
	return a
}

// cost is processor time, in seconds.
type cost struct{ machine, softirq, subject, load float64 }

func (c cost) minus(d cost) cost {
	return cost{c.machine - d.machine, c.softirq - d.softirq, c.subject - d.subject, c.load - d.load}
}

func (b *bench) cost(t *testing.T) cost {
	c := cost{}
	c.machine, c.softirq = machineTime(t)
	for _, pid := range b.processes {
		c.load += processTime(pid)
	}
	if b.site != nil {
		for _, pid := range b.site.Firewalls[0].pids() {
			c.subject += processTime(pid)
		}
	}
	return c
}

// hundredths are the unit of proc_stat(5).
func hundredths(fields ...string) (seconds float64) {
	for _, f := range fields {
		n, _ := strconv.Atoi(f)
		seconds += float64(n) / 100
	}
	return seconds
}

// machineTime is the busy time of all processors, and how much of it was spent in
// softirqs.
func machineTime(t *testing.T) (busy, softirq float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b)) // cpu user nice system idle iowait irq softirq
	return hundredths(f[1], f[2], f[3], f[6], f[7]), hundredths(f[7])
}

// processTime is the run time of a process's threads, by the scheduler's clock.
// It includes the softirqs that interrupted them, and no other process's time.
func processTime(pid int) (seconds float64) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		ns, _, _ := strings.Cut(string(b), " ")
		n, _ := strconv.ParseFloat(ns, 64)
		seconds += n / 1e9
	}
	return seconds
}

// pids are the processes in the host's namespace.
func (h *Host) pids() []int {
	var ns unix.Stat_t
	if unix.Stat("/run/netns/"+h.name, &ns) != nil {
		return nil
	}
	var pids []int
	tasks, _ := filepath.Glob("/proc/[0-9]*")
	for _, task := range tasks {
		var st unix.Stat_t
		if unix.Stat(task+"/ns/net", &st) == nil && st.Ino == ns.Ino && st.Dev == ns.Dev {
			pid, _ := strconv.Atoi(filepath.Base(task))
			pids = append(pids, pid)
		}
	}
	return pids
}
