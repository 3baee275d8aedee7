// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of <linux/netfilter/nfnetlink_hook.h> (since 5.14).
const (
	nfnlSubsysHook   = 12
	nfnlaHookHooknum = 1
	nfnlaHookModule  = 5
	inPrerouting     = 0 // NF_INET_PRE_ROUTING
	sizeofNfgenmsg   = 4
)

// bypasses are modules that take packets in prerouting and send them on their
// own: conntrack never confirms an entry for what they translate. Jool's hooks
// are in jool_common since 4.1.
var bypasses = []string{"jool_common", "jool", "jool_siit"}

// Bypass returns the name of a translator between IPv6 and IPv4 in this network
// namespace whose packets pass conntrack unconfirmed, or "". known reports
// whether the kernel can list hooks: Debian 12's cannot.
func Bypass() (name string, known bool) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return "", false
	}
	defer func() { go c.Close() }() // it waits for what nftables deletes, see ProbeZones in nfq
	for _, family := range []uint8{unix.NFPROTO_IPV6, unix.NFPROTO_IPV4} {
		a := netlink.NewAttributeEncoder()
		a.ByteOrder = binary.BigEndian
		a.Uint32(nfnlaHookHooknum, inPrerouting)
		attrs, err := a.Encode()
		if err != nil {
			return "", false
		}
		list, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: nfnlSubsysHook << 8, Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{family, 0, 0, 0}, attrs...),
		})
		if err != nil {
			continue
		}
		known = true
		for _, m := range list {
			if name := moduleOf(m.Data); slices.Contains(bypasses, name) {
				return name, true
			}
		}
	}
	return "", known
}

// moduleOf is the module of a hook.
func moduleOf(b []byte) (name string) {
	if len(b) < sizeofNfgenmsg {
		return ""
	}
	a, err := netlink.NewAttributeDecoder(b[sizeofNfgenmsg:])
	if err != nil {
		return ""
	}
	for a.Next() {
		if a.Type() == nfnlaHookModule {
			name = a.String()
		}
	}
	return name
}
