// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is a small DNS server on a firewall that knows one name.
type nameServer struct {
	mu   sync.Mutex
	addr map[dnsmessage.Type]netip.Addr
	ok   bool // otherwise it answers with an error
	sock net.PacketConn
}

const outsideName = "ftp.pvp.test."

func startNameServer(t *testing.T, h *Host) *nameServer {
	t.Helper()
	n := &nameServer{addr: map[dnsmessage.Type]netip.Addr{}, ok: true}
	if err := h.Do(func() (err error) {
		n.sock, err = net.ListenPacket("udp", "127.0.0.1:53")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.sock.Close() })
	go n.serve()
	return n
}

func (n *nameServer) set(v4, v6 string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addr[dnsmessage.TypeA], n.addr[dnsmessage.TypeAAAA], n.ok = netip.MustParseAddr(v4), netip.MustParseAddr(v6), ok
}

func (n *nameServer) serve() {
	b := make([]byte, 1500)
	for {
		size, from, err := n.sock.ReadFrom(b)
		if err != nil {
			return
		}
		if answer, err := n.answer(b[:size]); err == nil {
			n.sock.WriteTo(answer, from)
		}
	}
}

func (n *nameServer) answer(ask []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(ask); err != nil {
		return nil, err
	}
	q := m.Questions[0]
	m.Response, m.Additionals = true, nil
	n.mu.Lock()
	defer n.mu.Unlock()
	a, known := n.addr[q.Type]
	switch {
	case !n.ok:
		m.RCode = dnsmessage.RCodeServerFailure
	case q.Name.String() != outsideName:
		m.RCode = dnsmessage.RCodeNameError
	case known:
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}}
		if a.Is6() {
			r.Body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		} else {
			r.Body = &dnsmessage.AResource{A: a.As4()}
		}
		m.Answers = append(m.Answers, r)
	}
	return m.Pack()
}

// startResolving starts the daemon with a resolv.conf of its own.
func (s *Site) startResolving(t *testing.T, flags ...string) {
	t.Helper()
	fw := s.Firewalls[0]
	conf := filepath.Join(fw.Dir, "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, socket := s.DaemonCommand(t, fw, flags...)
	bin := c.Args[0]
	c.Args = append([]string{"unshare", "-m", "sh", "-c", `mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@"`, conf}, c.Args...)
	p, err := fw.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Process: p, Host: fw, Socket: socket, bin: bin}
	s.Before(func() { d.end(s.t) })
	s.Daemons = append(s.Daemons, d)
	if err := p.WaitLog(startTimeout, "msg=ready"); err != nil {
		d.stopped = true
		t.Fatal(err)
	}
}

// hearsOutside waits until an announcement shows an address to the other end.
func (d *Dialogue) hearsOutside(m Mode, own netip.Addr, want string) {
	d.t.Helper()
	var got netip.Addr
	if err := waitFor(20*time.Second, "announcement of "+want, func() bool {
		got = d.AnnounceText(m, netip.AddrPortFrom(own, 40000)).Addr()
		return got.String() == want
	}); err != nil {
		d.t.Fatalf("%s: %v, the other end received %s\n%s", m, err, got, d.site.Daemons[0].Output())
	}
}

// TestAdvertiseFound: addresses of a DNS name and an interface, which change
// while sessions run.
func TestAdvertiseFound(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	needPrograms(t, "unshare", "ip")
	site := NewSiteOnly(t, position("routed"), AllowRelated, Auto)
	fw := site.Firewalls[0]
	run := func(line string) {
		t.Helper()
		if out, err := fw.Run(10*time.Second, Cmd(strings.Fields(line)...)); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	run("ip link add ext0 type veth peer name ext1")
	run("ip link set ext0 up")
	run("ip link set ext1 up")
	run("ip addr add 192.0.2.30/24 dev ext0")
	run("ip -6 addr add 2001:db8:77::30/64 dev ext0 nodad")
	file := filepath.Join(t.TempDir(), "p.yaml")
	text := fmt.Sprintf("policies:\n  - {client: [0.0.0.0/0, \"::/0\"], advertise: [%s=%s, %s=ftp.pvp.test, %s=interface:ext0, \"%s=interface:ext0\"]}\n",
		site.ServerAddr(IPv4), strings.TrimSuffix(outsideName, "."), "10.255.255.1", "10.7.0.2", "fd07::2")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	site.startResolving(t, "--config", file)
	if took := time.Since(start); took > startTimeout/2 {
		t.Errorf("without a DNS server the start took %v", took)
	}
	if log := site.Daemons[0].Output(); !strings.Contains(log, `msg="no address to announce yet"`) {
		t.Errorf("the start does not say that there is no address:\n%s", log)
	}
	four := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
	six := site.Talk(t, site.ListenControl(t, IPv6), site.Client, IPv6)
	four.hearsOutside(PASV, site.ServerAddr(IPv4), site.ServerAddr(IPv4).String())
	four.hearsOutside(PORT, four.clientAddr(), "192.0.2.30")
	six.hearsOutside(EPRT, six.clientAddr(), "2001:db8:77::30")

	dns := startNameServer(t, fw)
	dns.set("192.0.2.7", "2001:db8:77::7", true)
	four.hearsOutside(PASV, site.ServerAddr(IPv4), "192.0.2.7")
	dns.set("192.0.2.8", "2001:db8:77::8", true)
	four.hearsOutside(PASV, site.ServerAddr(IPv4), "192.0.2.8")
	dns.set("192.0.2.9", "2001:db8:77::9", false)
	site.waitOutside(t, "ftp.pvp.test", "192.0.2.8", true)
	four.hearsOutside(PASV, site.ServerAddr(IPv4), "192.0.2.8")
	dns.set("192.0.2.9", "2001:db8:77::9", true)
	four.hearsOutside(PASV, site.ServerAddr(IPv4), "192.0.2.9")
	site.waitOutside(t, "ftp.pvp.test", "192.0.2.9", false)

	run("ip addr add 198.18.0.30/24 dev ext0") // the address in use is still there
	four.hearsOutside(PORT, four.clientAddr(), "192.0.2.30")
	run("ip addr del 192.0.2.30/24 dev ext0")
	four.hearsOutside(PORT, four.clientAddr(), "198.18.0.30")
	run("ip -6 addr del 2001:db8:77::30/64 dev ext0")
	site.waitOutside(t, "interface:ext0", "2001:db8:77::30", true)
	six.hearsOutside(EPRT, six.clientAddr(), "2001:db8:77::30")
	run("ip -6 addr add 2001:db8:77::31/64 dev ext0 nodad")
	six.hearsOutside(EPRT, six.clientAddr(), "2001:db8:77::31")
}

// waitOutside waits until the status reports how an address to announce was
// found.
func (s *Site) waitOutside(t *testing.T, of, address string, fails bool) {
	t.Helper()
	var status Object
	err := waitFor(20*time.Second, fmt.Sprintf("status of %s with %s, failing: %t", of, address, fails), func() bool {
		var err error
		if status, err = s.Daemons[0].Status(); err != nil {
			t.Fatal(err)
		}
		list, _ := status["outside"].([]any)
		for _, o := range list {
			o := o.(map[string]any)
			if o["of"] == of && o["address"] == address && (o["error"] != nil) == fails {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatalf("%v: %v", err, status["outside"])
	}
}
