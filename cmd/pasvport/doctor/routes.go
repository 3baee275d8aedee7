// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// routedBy are the policy routing rules that read any of some bits of the packet
// mark, in the format of "ip rule". It reads the network namespace of the calling
// thread, and ignores errors.
func routedBy(bits uint32) (list []string) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil
	}
	defer c.Close()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		// struct fib_rule_hdr of <linux/fib_rules.h>: its family, and eleven bytes.
		ask := netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETRULE, Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{family}, make([]byte, ruleHeader-1)...),
		}
		messages, err := c.Execute(ask)
		if err != nil {
			continue
		}
		for _, m := range messages {
			if text := markRule(m.Data, bits); text != "" {
				list = append(list, text)
			}
		}
	}
	return list
}

const ruleHeader = 12

// markRule describes a rule, if it reads any of some bits of the packet mark.
func markRule(b []byte, bits uint32) string {
	if len(b) < ruleHeader {
		return ""
	}
	a, err := netlink.NewAttributeDecoder(b[ruleHeader:])
	if err != nil {
		return ""
	}
	var priority, mark, table uint32
	mask := ^uint32(0)
	asks := false
	for a.Next() {
		switch a.Type() {
		case unix.FRA_PRIORITY:
			priority = a.Uint32()
		case unix.FRA_FWMARK:
			mark, asks = a.Uint32(), true
		case unix.FRA_FWMASK:
			mask, asks = a.Uint32(), true
		case unix.FRA_TABLE:
			table = a.Uint32()
		}
	}
	if a.Err() != nil || !asks || mask == 0 || mask&bits == 0 {
		return ""
	}
	return fmt.Sprintf("ip rule %d: fwmark 0x%x/0x%x lookup %d", priority, mark, mask, table)
}
