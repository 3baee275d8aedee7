// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Packet marks that are meant for our own chains. No packet that carries one
// of them gets beyond those.
const (
	// MarkInvalid is on packets that conntrack calls invalid and that are
	// queued for that. A packet that is accepted with it is dropped.
	MarkInvalid uint32 = 0x70617376

	// MarkReset is given to a packet whose sender is to get a TCP reset.
	MarkReset uint32 = 0x70617377
)

// staleRate bounds how many packets a second are queued because they have no
// conntrack entry: anybody can send such packets.
const staleRate = 500

// The flags that a packet in the middle of a connection does not have; a
// reset is never answered (RFC 9293 section 3.5.2).
const (
	midStreamText = "(syn | rst) == 0x0"
	midStream     = tcpSYN | tcpRST
)

// staleChain gets the packets that make conntrack begin an entry in the
// middle of a control connection (nf_conntrack_tcp_loose): the tracker has
// forgotten the connection, or never knew it. The daemon decides whether it
// can go on.
func staleChain(c Config) chain {
	ch := chain{name: "stale"}
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

// staleRules find such packets, at the end of the control chain.
func staleRules() []rule {
	// ct state new tcp flags & (syn | rst) == 0x0 tcp dport @control_ports goto stale
	// ct state new tcp flags & (syn | rst) == 0x0 tcp sport @control_ports goto stale
	isNew, flags := ctState("new", expr.CtStateBitNEW), tcpFlags(midStreamText, midStream, 0)
	return []rule{
		newRule(isNew, flags, dport(setControlPorts), goTo("stale")).
			explained("the tracker has forgotten the connection, or never saw its start"),
		newRule(isNew, flags, sport(setControlPorts), goTo("stale")),
	}
}

// invalidRules queue what conntrack calls invalid: it cannot be told here
// whether the connection is unknown or the packet does not fit into it.
// Without a daemon the packets are dropped. Packets with one of the flags are
// left alone.
func invalidRules(c Config, text string, flags uint8) []rule {
	// ct state invalid tcp flags & (syn | rst) == 0x0 tcp dport @control_ports
	//	limit rate 500/second burst 500 packets meta mark set 0x70617376 counter queue to 2121
	// ct state invalid tcp flags & (syn | rst) == 0x0 tcp sport @control_ports
	//	limit rate 500/second burst 500 packets meta mark set 0x70617376 counter queue to 2121
	invalid, mid := ctState("invalid", expr.CtStateBitINVALID), tcpFlags(text, flags, 0)
	to := queue(c.Queue, c.QueueNum, false)
	return []rule{
		newRule(invalid, mid, dport(setControlPorts), limit(staleRate), setMark(MarkInvalid), counter(), to),
		newRule(invalid, mid, sport(setControlPorts), limit(staleRate), setMark(MarkInvalid), counter(), to),
	}
}

// resetChains end the packets that the daemon has judged.
func resetChains() []chain {
	// meta l4proto tcp meta mark 0x70617377 counter reject with tcp reset
	// meta mark 0x70617376 counter drop
	rules := []rule{
		newRule(l4proto(), packetMark(MarkReset), counter(), reset()),
		newRule(packetMark(MarkInvalid), counter(), drop()),
	}
	return []chain{
		preroutingHook("reset_prerouting", -148, "mangle + 2", rules...),
		outputHook("reset_output", -148, "mangle + 2", rules...),
	}
}

// limit is: limit rate n/second burst n packets
func limit(n uint32) clause {
	return plain(fmt.Sprintf("limit rate %d/second burst %[1]d packets", n),
		&expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(n), Unit: expr.LimitTimeSecond, Burst: n})
}

// packetMark is: meta mark value
func packetMark(value uint32) clause {
	return plain(fmt.Sprintf("meta mark 0x%08x", value),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg}, equal(host32(value)))
}

// setMark is: meta mark set value
func setMark(value uint32) clause {
	return plain(fmt.Sprintf("meta mark set 0x%08x", value),
		&expr.Immediate{Register: reg, Data: host32(value)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true})
}

// reset is: reject with tcp reset
func reset() clause {
	return ofTCP("reject with tcp reset", &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
}
