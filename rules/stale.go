// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"

	"github.com/google/nftables/expr"
)

// staleRate limits how many packets a second are queued because they have no
// conntrack entry: anyone can send such packets.
const staleRate = 500

// The flags that a packet in the middle of a connection does not have; a reset is
// never answered (RFC 9293 section 3.5.2).
const (
	midStreamText = "(syn | rst) == 0x0"
	midStream     = tcpSYN | tcpRST
)

// staleChain gets the packets that make conntrack create an entry midstream for a
// control connection (nf_conntrack_tcp_loose): conntrack has lost the connection,
// or never knew it. The daemon decides whether it can continue.
func staleChain(c Config) chain {
	ch := chain{name: "stale", rules: append(seenBefore(), resetRules()...)}
	if c.OneZone {
		// ct zone != 0 return
		ch.rules = append(ch.rules, newRule(otherZone(), leave()))
	}
	for _, r := range carrierRules(c) {
		// tcp dport @control_ports meta nfproto ipv4 counter ct helper set "sane4"
		r.clauses = append([]clause{dport(setControlPorts)}, r.clauses...)
		ch.rules = append(ch.rules, r)
	}
	// limit rate 500/second burst 500 packets counter queue flags bypass to 2121
	ch.rules = append(ch.rules, newRule(limit(staleRate), counter(), queue(c.Queue, c.QueueNum, true)))
	return ch
}

// staleRule finds such packets among all that open a connection or seem to.
func staleRule() rule {
	// ct state new tcp flags & (syn | rst) == 0x0 jump midstream
	return newRule(ctState("new", expr.CtStateBitNEW), tcpFlags(midStreamText, midStream, 0), jump("midstream")).
		explained("conntrack has lost the connection, or never saw its start")
}

// midstreamChain gets them from staleRule.
func midstreamChain() chain {
	// tcp dport @control_ports goto stale
	// tcp sport @control_ports goto stale
	return chain{name: "midstream", rules: []rule{
		newRule(dport(setControlPorts), goTo("stale")),
		newRule(sport(setControlPorts), goTo("stale")),
	}}
}

// openingChain gets the packet that opens a connection: an earlier one with its
// addresses and ports is over. What a SYN proxy picks up must not be queued: over
// IPv6 the proxy does not accept it from the queue.
func openingChain() chain {
	// delete @seen4 { tcp sport . tcp dport . ip saddr . ip daddr }
	return chain{name: "opening", rules: []rule{
		newRule(setEnds("delete", dynsetDelete, setSeen, FamilyIPv4)),
		newRule(setEnds("delete", dynsetDelete, setSeen, FamilyIPv6)),
	}}
}

// unplacedChain queues invalid packets of control connections that were seen:
// whether the connection was lost or the packet does not fit into it cannot be
// decided here.
func unplacedChain(c Config) chain {
	ch := chain{name: "unplaced", rules: resetRules()}
	for _, ip := range ipFamilies {
		// tcp flags & (syn | rst) == 0x0 tcp sport . tcp dport . ip saddr . ip daddr @seen4
		//	limit rate 500/second burst 500 packets counter queue flags bypass to 2121
		ch.rules = append(ch.rules, newRule(tcpFlags(midStreamText, midStream, 0), endsIn(setSeen, ip),
			limit(staleRate), counter(), queue(c.Queue, c.QueueNum, true)))
	}
	return ch
}

// unplacedHooks find such packets where they would reach this host or leave it.
// What is queued in these hooks is invalid, and what is queued in prerouting is
// not.
func unplacedHooks() []chain {
	// ct state invalid meta l4proto tcp jump unplaced
	invalid := newRule(ctState("invalid", expr.CtStateBitINVALID), l4proto(), jump("unplaced"))
	// meta iiftype loopback return
	lo := newRule(iifLoopback(), leave()).explained("seen in output")
	return []chain{
		inputHook("unplaced_input", -150, "mangle", lo, invalid),
		forwardHook("unplaced_forward", -150, "mangle", invalid),
	}
}

// localRules find what a local end sends on a connection that conntrack does not
// pick up. An end that closes is let go: its FIN is invalid where an ACK would
// create an entry, and the other end may still be reached.
func localRules() []rule {
	// ct state invalid tcp flags & (fin | syn | rst) == 0x0 jump local
	return []rule{newRule(ctState("invalid", expr.CtStateBitINVALID),
		tcpFlags("(fin | syn | rst) == 0x0", midStream|tcpFIN, 0), jump("local"))}
}

// localChain queues it. In output the hook does not show that it is invalid, so
// the time to live does; the daemon restores it.
func localChain(c Config) chain {
	ch := chain{name: "local", rules: resetRules()}
	for _, ip := range ipFamilies {
		// tcp sport . tcp dport . ip saddr . ip daddr @seen4
		//	limit rate 500/second burst 500 packets ip ttl set 0 counter queue to 2121
		ch.rules = append(ch.rules, newRule(endsIn(setSeen, ip), limit(staleRate), expire(ip), counter(), queue(c.Queue, c.QueueNum, false)))
	}
	return ch
}

// resetRules find a packet whose sender must get a TCP reset. The daemon sends it
// once more through its hook (NF_REPEAT), with a time to live that no router
// forwards, and so without changing the administrator's marks.
func resetRules() []rule {
	// ip ttl 0 goto refuse
	// ip6 hoplimit 0 goto refuse
	return []rule{
		newRule(hops(FamilyIPv4), goTo("refuse")).explained("the daemon has judged it"),
		newRule(hops(FamilyIPv6), goTo("refuse")),
	}
}

// refuseChain is a chain of its own because a reject adds a match of its
// protocol.
func refuseChain() chain {
	// meta l4proto tcp counter reject with tcp reset
	return chain{name: "refuse", rules: []rule{newRule(l4proto(), counter(), reset())}}
}

// expire is: ip ttl set 0
func expire(ip Family) clause {
	zero := &expr.Immediate{Register: reg, Data: []byte{0}}
	if ip == FamilyIPv6 {
		return clause{text: "ip6 hoplimit set 0", needs: needIPv6, exprs: []expr.Any{zero,
			&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 7, Len: 1}}}
	}
	return clause{text: "ip ttl set 0", needs: needIPv4, exprs: []expr.Any{zero,
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 1,
			CsumType: expr.CsumTypeInet, CsumOffset: 10}}}
}

// hops is: ip ttl 0
func hops(ip Family) clause {
	c := clause{text: "ip ttl 0", needs: needIPv4, exprs: []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 1}, equal([]byte{0})}}
	if ip == FamilyIPv6 {
		c = clause{text: "ip6 hoplimit 0", needs: needIPv6, exprs: []expr.Any{
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 7, Len: 1}, equal([]byte{0})}}
	}
	return c
}

// limit is: limit rate n/second burst n packets
func limit(n uint32) clause {
	return plain(fmt.Sprintf("limit rate %d/second burst %[1]d packets", n),
		&expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(n), Unit: expr.LimitTimeSecond, Burst: n})
}
