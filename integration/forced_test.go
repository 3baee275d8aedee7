// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"
)

// TestForced: each choice that the daemon makes by probing the kernel can be
// forced; status shows it, and it works. What the kernel lacks is refused by a
// line that names the module or option.
func TestForced(t *testing.T) {
	needDaemon(t)
	for name, tc := range map[string]struct {
		flags    []string
		feature  string // required feature
		missing  string // what the refusal names
		key, val string // of status
	}{
		"queue native":  {[]string{"--queue", "native"}, "queue-native", "nft_queue", "queue_kind", "native"},
		"queue xt":      {[]string{"--queue", "xt"}, "queue-xt", "xt_NFQUEUE", "queue_kind", "xt"},
		"carrier sane":  {[]string{"--carrier", "sane"}, "carrier-sane", "nf_conntrack_sane", "carrier", "sane"},
		"carrier bare":  {[]string{"--carrier", "bare"}, "carrier-bare", "ct expectation", "carrier", "bare"},
		"carrier none":  {[]string{"--carrier", "none"}, "claim", "CONFIG_NF_CT_NETLINK", "carrier", "none"},
		"expectations":  {[]string{"--strategy", "expectation"}, "expectation", "nf_conntrack_sane", "strategy", "expectation"},
		"claims by xt":  {[]string{"--strategy", "claim", "--queue", "xt"}, "queue-xt", "xt_NFQUEUE", "queue_kind", "xt"},
		"claims, no xt": {[]string{"--strategy", "claim", "--queue", "native"}, "queue-native", "nft_queue", "queue_kind", "native"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position("both-nat"), AllowRelated, Auto)
			c, socket := site.DaemonCommand(t, site.Firewalls[0], tc.flags...)
			p, err := site.Firewalls[0].Start(c)
			if err != nil {
				t.Fatal(err)
			}
			d := &Daemon{Process: p, Host: site.Firewalls[0], Socket: socket, bin: c.Args[0]}
			if err := p.WaitLog(startTimeout, "msg=ready"); err != nil {
				if status, err := p.Wait(startTimeout); err != nil || status != 1 || !strings.Contains(p.Output(), tc.missing) {
					t.Fatalf("exit status %d, %v; want 1 and a line that names %s:\n%s", status, err, tc.missing, p.Output())
				}
				return
			}
			site.Before(func() { d.end(t) })
			status, err := d.Status()
			if err != nil || status[tc.key] != tc.val {
				t.Errorf("status %s is %v, %v; want %s", tc.key, status[tc.key], err, tc.val)
			}
			if !d.feature(t, tc.feature) {
				t.Errorf("it runs, but status says that the kernel lacks %s", tc.feature)
			}
			site.startMini(t)
			for _, f := range []Family{IPv4, IPv6} {
				site.everyMode(t, f, 0)
			}
		})
	}
}
