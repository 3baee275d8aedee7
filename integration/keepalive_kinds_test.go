// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// kinds are sessions whose numbers need special care.
var kinds = map[string]struct {
	position string
	flags    []string
	begin    func(*testing.T, *Dialogue)
}{
	// Its data is encrypted.
	"opaque": {"masquerade", nil, func(t *testing.T, d *Dialogue) { d.encrypt(t) }},
	// And the kernel adjusts its numbers since before that.
	"opaque after PORT": {"masquerade", nil, func(t *testing.T, d *Dialogue) {
		d.Announce(PORT).MustOpen(t).Close()
		d.Reply("226 transfer complete")
		d.encrypt(t)
	}},
	// The daemon adjusts them.
	"renumbered": {"routed", []string{"--advertise", "10.7.0.2=192.168.178.199", "--advertise", "192.168.178.202=10.1.1.1"}, func(t *testing.T, d *Dialogue) {
		said := "PORT " + argument(PORT, netip.AddrPortFrom(d.clientAddr(), 51210))
		if heard := d.Command(said); len(heard) == len(said) {
			t.Fatalf("the client sent %q, the server received %q: no number has to be adjusted", said, heard)
		}
		d.Reply("200 PORT command successful")
	}},
}

// TestKeepaliveKinds: sessions of all kinds are kept alive and continue, and a
// dead end is detected.
func TestKeepaliveKinds(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position(k.position), AllowRelated, Auto, append([]string{"--keepalive", "1s"}, k.flags...)...)
			ln := site.ListenControl(t, IPv4)
			d, dead := site.Talk(t, ln, site.Client, IPv4), site.Talk(t, ln, site.Client2, IPv4)
			for _, d := range []*Dialogue{d, dead} {
				k.begin(t, d)
				d.silence(t)
			}
			probed := countProbes(t, d.from, d.Client)
			if err := waitFor(10*time.Second, "three probes", func() bool { return probed() >= 3 }); err != nil {
				t.Fatal(err)
			}
			site.Client2.LoadRules(t, "table inet dead { chain in { type filter hook input priority 0; tcp sport 21 drop; }; }")
			expectReset(t, dead.Server, 15*time.Second)
			for range 3 {
				d.Command("NOOP")
				d.Reply("200 noop")
			}
		})
	}
}

// encrypt switches the session to TLS, and sends bytes that are not TLS.
func (d *Dialogue) encrypt(t *testing.T) {
	t.Helper()
	d.Command("AUTH TLS")
	d.Reply("234 AUTH TLS successful")
	for range 3 {
		d.Command("\x16\x03\x01 not for you")
		d.Reply("\x16\x03\x03 neither")
	}
}

// countProbes counts the keep-alives that a host receives on a connection:
// packets without payload from the server's port.
func countProbes(t *testing.T, h *Host, c net.Conn) func() int {
	t.Helper()
	h.LoadRules(t, fmt.Sprintf("table inet probes { chain in { type filter hook input priority 0; tcp dport %d tcp flags == ack counter; }; }",
		addrOf(c.LocalAddr()).Port()))
	return func() int {
		out, _ := h.Run(10*time.Second, Cmd("nft", "list", "chain", "inet", "probes", "in"))
		n := 0
		if _, rest, ok := strings.Cut(out, "counter packets "); ok {
			fmt.Sscan(rest, &n)
		}
		return n
	}
}

// TestKeepaliveWithoutRight: without CAP_NET_RAW the daemon reports that, serves,
// and sends no probes.
func TestKeepaliveWithoutRight(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	needPrograms(t, "setpriv")
	site := NewSiteOnly(t, position("masquerade"), AllowRelated, Auto)
	c, _ := site.DaemonCommand(t, site.Firewalls[0], "--keepalive", "1s", "--session-idle", "2s")
	c.Args = append([]string{"setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"}, c.Args...)
	p, err := site.Firewalls[0].Start(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitLog(startTimeout, "msg=ready"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains([]byte(p.Output()), []byte("missing CAP_NET_RAW")) {
		t.Errorf("no report of the missing capability:\n%s", p.Output())
	}
	d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
	probed := countProbes(t, d.from, d.Client)
	time.Sleep(4 * time.Second)
	if n := probed(); n > 0 {
		t.Errorf("%d probes", n)
	}
	d.goesOn(t, clientSpeaks)
}
