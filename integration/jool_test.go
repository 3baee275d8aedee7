// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// joolPool is the IPv4 address that stands for the clients of Jool.
var joolPool = netip.MustParseAddr("192.168.255.2")

// joolModule loads the kernel module of the translator Jool, which
// scripts/vm-test builds for the kernels of its virtual machines.
var joolModule = sync.OnceValue(func() bool {
	_, err := os.Stat("/sys/module/jool")
	return err == nil || exec.Command("modprobe", "jool").Run() == nil
})

// joolProgram is the program that configures the module.
func joolProgram(t testing.TB) string {
	t.Helper()
	program, err := unpacked("usr/bin/jool")()
	if err != nil {
		t.Skip(err)
	}
	if !joolModule() {
		t.Skip("no kernel module jool here: scripts/vm-test has one")
	}
	return program
}

// jool runs a command of Jool on a host.
func (h *Host) jool(t testing.TB, args ...string) {
	t.Helper()
	out, err := h.Run(startTimeout, Command{Args: append([]string{joolProgram(t)}, args...), Env: libraries()})
	if err != nil {
		t.Fatalf("jool %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// startJool starts Jool on a host, with one address for all clients.
func (h *Host) startJool(t testing.TB, pool netip.Addr) {
	t.Helper()
	h.jool(t, "instance", "add", "nat64", "--netfilter", "--pool6", nat64Prefix.String())
	h.jool(t, "-i", "nat64", "pool4", "add", pool.String(), "1024-65535", "--tcp")
}

// TestJool runs Jool in a network namespace of its own, as its documentation
// recommends. Passive mode works; for active mode its table needs the client's
// port.
func TestJool(t *testing.T) {
	needDaemon(t)
	joolProgram(t)
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			needPrograms(t, "nft", "conntrack")
			site := &Site{Topology: NewTopology(NewNet(t), 1, true), Position: nat64Own, Allow: AllowRelated, Subject: s}
			apart := site.translatorApart(t, func(h *Host, t testing.TB) { h.startJool(t, joolPool) })
			site.Client.routeNAT64(t, clientGate)
			site.Firewalls[0].LoadRules(t, strings.ReplaceAll(fmt.Sprintf(nat64Rules, AllowRelated.accept()), `"nat64"`, `"to64"`))
			site.StartSubject(t, nat64Flag)
			server := site.server64(t, Vsftpd)
			for _, k := range []*ClientKind{Ftplib, Wget, Curl} { // Wget reports EPSV 2
				k.Need(t)
				Job{Client: k, From: site.Client, Dial: nat64Own.Dial(IPv6, 0), Server: server, Mode: EPSV, Size: smallFile}.Verify(t)
			}
			server.Stop()
			d := site.talk64(t, site.Client)
			d.announce64(EPSV).MustOpen(t)
			o := d.announce64(EPRT)
			o.MustRefuse(t, o.Opener, "before Jool was told")
			port := addrOf(o.listener.Addr()).Port()
			apart.jool(t, "-i", "nat64", "bib", "add", "--tcp", fmt.Sprintf("%v#%d", clientAddr[IPv6], port), fmt.Sprintf("%v#%d", joolPool, port))
			d.announceAgain64(o)
			o.MustRefuse(t, site.Third, "a third host")
			o.MustOpen(t)
			d.announce64(EPSV).MustOpen(t)
			d.hears("ALGS STATUS64", "ALGS STATUS64")
			d.told("500 Unknown command.", "216 EPSVEPRT")
			site.mustSay(t, "bib add --tcp CLIENT6#PORT POOL4#PORT", nat64Flag)
		})
	}
}

// mustSay checks that the doctor gives advice that contains this text.
func (s *Site) mustSay(t *testing.T, text string, flags ...string) {
	t.Helper()
	found := s.examine(t, flags...).Findings
	for _, f := range found {
		if strings.Contains(f.Text+strings.Join(f.Hint, "\n"), text) {
			return
		}
	}
	t.Errorf("the doctor does not say %q: %v", text, found)
}

// TestJoolBeside: Jool runs in the daemon's own network namespace, where
// conntrack does not see what it translates. Sessions pass as if there were no
// daemon.
func TestJoolBeside(t *testing.T) {
	needDaemon(t)
	joolProgram(t)
	told := []string{"--nat64", nat64Prefix.String() + "," + serverGate[IPv4].String()}
	for _, tt := range []struct {
		name  string
		flags []string
		rules string
	}{
		{"not told", nil, ""},
		{"told", told, ""},
		{"not tracked", told, fmt.Sprintf("table inet jool { chain pre { type filter hook prerouting priority raw; ip6 daddr %v notrack; ip daddr %v tcp dport 1024-65535 notrack; }; }", nat64Prefix, serverGate[IPv4])},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site := NewSiteOnly(t, position("routed"), AllowRelated, Auto)
			site.Position = nat64
			fw := site.Firewalls[0]
			site.Client.routeNAT64(t, clientGate)
			fw.startJool(t, serverGate[IPv4])
			fw.LoadRules(t, tt.rules)
			site.StartSubject(t, tt.flags...)
			server := site.server64(t, Vsftpd)
			for _, k := range []*ClientKind{Ftplib, Curl} {
				k.Need(t)
				Job{Client: k, From: site.Client, Dial: nat64.Dial(IPv6, 0), Server: server, Mode: EPSV, Size: smallFile}.Verify(t)
			}
			server.Stop()
			d := site.talk64(t, site.Client)
			for i := range 5 {
				d.hears(fmt.Sprintf("NOOP %d", i), fmt.Sprintf("NOOP %d", i))
				time.Sleep(300 * time.Millisecond) // longer than a retransmission takes
				d.told("200 ok", "200 ok")
			}
			d.hears("EPSV", "EPSV") // unread
			d.told("229 Entering Extended Passive Mode (|||25601|)", "229 Entering Extended Passive Mode (|||25601|)")
			site.mustSay(t, "jool", tt.flags...)
		})
	}
}
