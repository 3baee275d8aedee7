// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The firewall sees no packet or only half of these sessions: conntrack calls
// their packets invalid, or keeps no entry for them, and none of them is edited
// or translated. What the administrator's ruleset accepts must pass.

// bypass routes packets from one end to the other past the firewall.
func (s *Site) bypass(t *testing.T, from, to *Host, addr Pair) {
	t.Helper()
	near, far := pair("172.31.9.1", "fd31:9::1"), pair("172.31.9.2", "fd31:9::2")
	l := link{from, to, "side0", "side0", near, far}
	if err := l.up(); err != nil {
		t.Fatal(err)
	}
	for f, a := range addr {
		if out, err := from.Run(10*time.Second, Cmd("ip", fmt.Sprintf("-%d", f), "route", "add", a.String(), "via", far[f].String())); err != nil {
			t.Fatalf("route: %v: %s", err, out)
		}
	}
	for _, h := range []*Host{from, to} {
		for _, dev := range []string{"all", "side0", "eth0"} {
			if err := h.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "0"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestOneWay: a session whose other direction bypasses the firewall is not held
// up, as with direct server return or two routers. Segments are lost, too: a
// retransmission is no sign that nothing answers.
func TestOneWay(t *testing.T) {
	needDaemon(t)
	for _, way := range []string{"from the client", "from the server"} {
		for _, s := range subjects(t) {
			for _, loose := range []string{"1", "0"} {
				t.Run(way+"/loose="+loose+"/"+s.Name, func(t *testing.T) {
					t.Parallel()
					site := NewSiteOnly(t, position("routed"), AllowRelated, s)
					if way == "from the client" {
						site.bypass(t, site.Server, site.Client, clientAddr)
					} else {
						site.bypass(t, site.Client, site.Server, serverAddr)
					}
					fw := site.Firewalls[0]
					fw.LoadRules(t, "insert rule inet filter forward accept")
					if err := fw.Sysctl("net/netfilter/nf_conntrack_tcp_loose", loose); err != nil {
						t.Fatal(err)
					}
					site.patience(t)
					site.StartSubject(t)
					var talks []*Dialogue
					for _, f := range site.Position.families() {
						talks = append(talks, site.Talk(t, site.ListenControl(t, f), site.Client, f))
					}
					site.lose(t, 6)
					for _, d := range talks {
						for i := range 10 {
							d.Command(fmt.Sprintf("NOOP %d", i))
							time.Sleep(50 * time.Millisecond) // the acknowledgement is sent on its own
							d.Reply("200 ok")
						}
						for _, m := range d.family.Modes() {
							d.Announce(m).MustOpen(t)
						}
					}
					if log := site.Daemons[0].Output(); strings.Contains(log, "connection reset") {
						t.Errorf("reset:\n%s", log)
					}
				})
			}
		}
	}
}

// synproxy are the rules of the iptables manual's SYNPROXY section, in nft
// syntax.
const synproxy = `table inet proxy {
	chain untracked {
		type filter hook prerouting priority raw; policy accept;
		tcp dport 21 tcp flags & (fin | syn | rst | ack) == syn notrack
	}
	chain proxied {
		type filter hook forward priority filter - 1; policy accept;
		tcp dport 21 ct state { invalid, untracked } synproxy mss 1460 wscale 7 timestamp sack-perm
		ct state invalid drop
	}
}`

// TestSYNProxy: a SYN proxy in front of the server sees the end of each
// handshake, which conntrack calls invalid, and sessions work behind it. Claims
// do not: an entry that was made by ctnetlink has the SYN proxy's extension
// (nfct_synproxy_ext_add in ctnetlink_create_conntrack), and the kernel takes its
// SYN and ACK for one that the proxy asked for (ipv4_synproxy_hook).
func TestSYNProxy(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "masquerade"} {
		for _, s := range subjects(t) {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				if s == Claim {
					t.Skip("the kernel's SYN proxy takes claimed data connections for its own")
				}
				t.Parallel()
				site := NewSiteOnly(t, position(p), AllowRelated, s)
				fw := site.Firewalls[0]
				fw.LoadRules(t, synproxy+`
insert rule inet filter output tcp dport 21 accept
insert rule inet filter output tcp sport 21 accept`) // what the proxy sends
				for name, value := range map[string]string{
					"net/netfilter/nf_conntrack_tcp_loose": "0", "net/ipv4/tcp_syncookies": "1", "net/ipv4/tcp_timestamps": "1",
				} {
					if err := fw.Sysctl(name, value); err != nil {
						t.Fatal(err)
					}
				}
				site.StartSubject(t)
				for _, f := range site.Position.families() {
					ln := site.ListenControl(t, f)
					for range 3 {
						d := site.Talk(t, ln, site.Client, f)
						d.goesOn(t, clientSpeaks)
					}
				}
			})
		}
	}
}

// TestTranslatorBeside: a NAT64 translator that takes packets after conntrack, in
// the firewall's own namespace, is not disturbed while the daemon serves others.
func TestTranslatorBeside(t *testing.T) {
	needDaemon(t)
	for _, loose := range []string{"1", "0"} {
		for _, lose := range []int{0, 9} {
			for _, s := range subjects(t) {
				t.Run(fmt.Sprintf("loose=%s/lost=%d/%s", loose, lose, s.Name), func(t *testing.T) {
					t.Parallel()
					site := NewSiteOnly(t, position("routed"), AllowRelated, s)
					fw := site.Firewalls[0]
					if err := fw.Sysctl("net/netfilter/nf_conntrack_tcp_loose", loose); err != nil {
						t.Fatal(err)
					}
					if out, err := site.Client.Run(10*time.Second, Cmd("ip", "-6", "route", "add", "64:ff9b::/96", "via", clientGate[IPv6].String())); err != nil {
						t.Fatalf("route: %v: %s", err, out)
					}
					site.startTranslator(t, lose)
					site.patience(t)
					site.StartSubject(t)
					ln := site.ListenControl(t, IPv4)
					d := site.translated(t, ln)
					for i := range 10 {
						d.Command(fmt.Sprintf("NOOP %d", i))
						time.Sleep(200 * time.Millisecond) // longer than a retransmission takes
						d.Reply("200 ok")
					}
					site.Talk(t, ln, site.Client, IPv4).goesOn(t, clientSpeaks)
					d.Command("QUIT")
					d.Reply("221 bye")
				})
			}
		}
	}
}

// translated is a session through the translator.
func (s *Site) translated(t *testing.T, ln *net.TCPListener) *Dialogue {
	t.Helper()
	client, err := s.Client.Dial(netip.AddrPort{}, netip.AddrPortFrom(embed(serverAddr[IPv4]), 21), lineTimeout)
	if err != nil {
		t.Fatal(err)
	}
	ln.SetDeadline(time.Now().Add(lineTimeout))
	server, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	d := &Dialogue{t: t, site: s, from: s.Client, family: IPv6, Client: client, Server: server,
		heardByServer: bufio.NewReader(server), heardByClient: bufio.NewReader(client)}
	d.Reply("220 ready")
	d.login()
	return d
}
