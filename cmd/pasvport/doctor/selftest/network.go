// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/netns"
)

// Addresses for documentation (RFC 5737, RFC 3849). IPv4 is translated on the
// firewall, and the server has no route to the client's own address; IPv6 is not.
var (
	client4, inside4  = netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1")
	outside4, server4 = netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	stranger4         = netip.MustParseAddr("198.51.100.66") // a second address of the server's host
	client6, inside6  = netip.MustParseAddr("2001:db8:1::2"), netip.MustParseAddr("2001:db8:1::1")
	outside6, server6 = netip.MustParseAddr("2001:db8:2::1"), netip.MustParseAddr("2001:db8:2::2")
)

// Links of the firewall, and its table.
const (
	linkInside, linkOutside = "inside", "outside"
	tableName               = "selftest"
)

// A network is the three hosts.
type network struct {
	client, firewall, server *netns.Namespace

	ipv6 bool // it has addresses of IPv6
}

// build makes them. The caller must call close even if it fails.
func (n *network) build() (err error) {
	for _, ns := range []**netns.Namespace{&n.client, &n.firewall, &n.server} {
		if *ns, err = netns.New(); err != nil {
			return err
		}
	}
	steps := []func() error{
		func() error { return n.client.Connect("eth0", n.firewall, linkInside) },
		func() error { return n.server.Connect("eth0", n.firewall, linkOutside) },
		func() error { return n.client.Address("eth0", netip.PrefixFrom(client4, 24)) },
		func() error { return n.firewall.Address(linkInside, netip.PrefixFrom(inside4, 24)) },
		func() error { return n.firewall.Address(linkOutside, netip.PrefixFrom(outside4, 24)) },
		func() error { return n.server.Address("eth0", netip.PrefixFrom(server4, 24)) },
		func() error { return n.server.Address("eth0", netip.PrefixFrom(stranger4, 24)) },
		func() error { return n.client.DefaultRoute(inside4) },
		func() error { return n.firewall.Sysctl("net/ipv4/ip_forward", "1") },
	}
	if n.ipv6 {
		steps = append(steps,
			func() error { return n.client.Address("eth0", netip.PrefixFrom(client6, 64)) },
			func() error { return n.firewall.Address(linkInside, netip.PrefixFrom(inside6, 64)) },
			func() error { return n.firewall.Address(linkOutside, netip.PrefixFrom(outside6, 64)) },
			func() error { return n.server.Address("eth0", netip.PrefixFrom(server6, 64)) },
			func() error { return n.client.DefaultRoute(inside6) },
			func() error { return n.server.DefaultRoute(outside6) },
			func() error { return n.firewall.Sysctl("net/ipv6/conf/all/forwarding", "1") },
		)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (n *network) close() {
	for _, ns := range []*netns.Namespace{n.client, n.firewall, n.server} {
		if ns != nil {
			ns.Close()
		}
	}
}

// lockDown gives the firewall a strict ruleset, which accepts data connections in
// the way of --allow and in no other.
func (n *network) lockDown(cfg config.Config) error {
	c, err := nftables.New(nftables.WithNetNSFd(n.firewall.FD))
	if err != nil {
		return err
	}
	drop := nftables.ChainPolicyDrop
	filter := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName})
	// meta l4proto tcp drop; IPv6 finds its neighbours
	input := c.AddChain(&nftables.Chain{
		Name: "input", Table: filter, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: filter, Chain: input, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{unix.IPPROTO_TCP}), &expr.Verdict{Kind: expr.VerdictDrop},
	}})
	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: filter, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	for _, exprs := range acceptRules(cfg) {
		c.AddRule(&nftables.Rule{Table: filter, Chain: forward, Exprs: exprs})
	}
	// oifname "outside" masquerade
	nat := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	post := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: nat, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, linkOutside)
	c.AddRule(&nftables.Rule{Table: nat, Chain: post, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, equal(name), &expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

func equal(v []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: v} }

// acceptRules are the rules of chain forward.
func acceptRules(cfg config.Config) [][]expr.Any {
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	zero := make([]byte, 4)
	masked := func(key expr.CtKey, mask uint32) []expr.Any {
		return []expr.Any{
			&expr.Ct{Key: key, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: zero},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: zero}, accept,
		}
	}
	state := uint32(expr.CtStateBitESTABLISHED)
	if cfg.Allow == config.AllowRelated {
		state |= expr.CtStateBitRELATED
	}
	// ct state established,related accept
	rules := [][]expr.Any{masked(expr.CtKeySTATE, state)}
	if cfg.Allow == config.AllowMark {
		// ct mark & 0x04000000 != 0 accept
		rules = append(rules, masked(expr.CtKeyMARK, cfg.Control()))
	}
	// iifname "inside" tcp dport 21 accept
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, linkInside)
	return append(rules, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equal(name),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{unix.IPPROTO_TCP}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		equal(binaryutil.BigEndian.PutUint16(controlPort(cfg))), accept,
	})
}

// controlPort is the tested port.
func controlPort(cfg config.Config) uint16 { return cfg.Ports[0].Low }
