// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// hookIngress is NF_INET_INGRESS of <linux/netfilter.h>.
	hookIngress = unix.NF_INET_POST_ROUTING + 1

	// conntrackPriority is NF_IP_PRI_CONNTRACK of <linux/netfilter_ipv4.h>.
	conntrackPriority = -200
)

// Idle returns why a rule of ours in a chain of the administrator's would let no
// data connection through, or nothing if it may. unix.EPERM means that
// CAP_NET_ADMIN is missing.
func Idle(r ChainRef) (why string, err error) {
	c, err := dial(0)
	if err != nil {
		return "", err
	}
	defer c.close()
	return c.idle(r)
}

// idle is Idle; an error that wraps ErrNoChain means that r does not exist.
func (c *conn) idle(r ChainRef) (why string, err error) {
	query := appendString(nil, unix.NFTA_CHAIN_TABLE, r.Table)
	query = appendString(query, unix.NFTA_CHAIN_NAME, r.Chain)
	err = c.request(unix.NFT_MSG_GETCHAIN, 0, r.Family, query, func(_ Family, body []byte) { why = idleChain(body) })
	if errors.Is(err, unix.ENOENT) {
		err = ErrNoChain
	}
	if err != nil {
		return "", &OpError{Op: "find chain", Object: r.words(), Err: err}
	}
	return why, nil
}

func idleChain(body []byte) string {
	a := collect(body)
	if a[unix.NFTA_CHAIN_HOOK] == nil {
		return "" // others jump to it
	}
	hook := collect(a[unix.NFTA_CHAIN_HOOK])
	num, priority := number(hook[unix.NFTA_HOOK_HOOKNUM]), int32(number(hook[unix.NFTA_HOOK_PRIORITY]))
	switch {
	case attrString(a[unix.NFTA_CHAIN_TYPE]) == "nat":
		return "it is of type nat, and decides on translation alone"
	case num == hookIngress:
		return "it is of hook ingress, before conntrack knows the connection"
	case (num == unix.NF_INET_PRE_ROUTING || num == unix.NF_INET_LOCAL_OUT) && priority <= conntrackPriority:
		return fmt.Sprintf("its priority is %d, before conntrack (%d) knows the connection", priority, conntrackPriority)
	}
	return ""
}
