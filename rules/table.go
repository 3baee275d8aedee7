// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"github.com/google/nftables/expr"
)

// TableComment identifies our tables, whatever their names.
const TableComment = "pasvport: made and removed by the daemon, do not edit, do not save"

// controlMSS keeps a control segment that a rewrite made longer within the
// path's MTU.
const controlMSS = 1300

// saneRequest is SANE_NET_START, on which the carrier's parser acts
// (nf_conntrack_sane.c). FTP commands do not start with a NUL.
const saneRequest = 0x00000007

// A table is our table, ready to be printed or sent.
type table struct {
	name    string
	there   bool // in the kernel, see makeWay; as in objects and chains
	sets    []set
	objects []object
	chains  []chain
}

// describe makes the table for c, which has its defaults.
func describe(c Config) table {
	t := table{name: c.Table, sets: ownSets(c), objects: carriers(c.Carrier)}
	t.chains = []chain{divertChain(c)}
	if !c.Watch {
		t.chains = append(t.chains, guardChain(), droppedChain())
	}
	t.chains = append(t.chains, renumberChain(c))
	if c.Stale {
		t.chains = append(t.chains, refuseChain(), noteChain("see", setSeen))
	}
	t.chains = append(t.chains, dataChain(c), sessionChain(c), beginChain(c))
	if c.Stale {
		t.chains = append(t.chains, openingChain())
	}
	if !c.Watch {
		t.chains = append(t.chains, againChain(c))
	}
	t.chains = append(t.chains, synChain(c))
	if c.Stale {
		t.chains = append(t.chains, staleChain(c), midstreamChain(), unplacedChain(c), localChain(c))
	}
	t.chains = append(append(t.chains, wayChains(c)...), controlChain(c))
	t.chains = append(t.chains, hookChains(c)...)
	if c.Claim {
		t.chains = append(t.chains, claimChains(c)...)
	}
	t.chains = append(t.chains, balanceChains(c)...)
	return t
}

// divertChain sends packets to their connection's queue. Both directions of a
// connection have one conntrack id, and so one queue, under any NAT.
func divertChain(c Config) chain { return queueChain(c, "divert", !c.FailClosed) }

// renumberChain does the same for connections whose sequence numbers the daemon
// adjusts. Without a daemon they have to wait.
func renumberChain(c Config) chain {
	ch := queueChain(c, "renumber", false)
	if !c.Watch {
		// jump guard
		ch.rules = append([]rule{newRule(jump("guard"))}, ch.rules...)
	}
	return ch
}

func queueChain(c Config, name string, bypass bool) chain {
	ch := chain{name: name}
	for i := range c.Queues {
		num := c.QueueNum + uint16(i)
		to := queue(c.Queue, num, bypass)
		if c.Queues == 1 {
			// counter queue flags bypass to 2121
			ch.rules = append(ch.rules, newRule(counter(), to))
			continue
		}
		// jhash ct id mod 2 seed 0x70617376 == 0 counter queue flags bypass to 2121
		ch.rules = append(ch.rules, newRule(ctHash(uint32(c.Queues), uint32(i)), counter(), to))
	}
	return ch
}

// sessionChain sees the packets of established control connections, in both
// directions.
func sessionChain(c Config) chain {
	ch := chain{name: "session", rules: seenBefore()}
	if len(c.VirtualServers) > 0 {
		// ct id @checks return
		ch.rules = append(ch.rules, newRule(ctIn(setChecks), leave()).explained("a check of a server is no session"))
	}
	if c.Stale {
		// jump see
		ch.rules = append(append(ch.rules, resetRules()...), newRule(jump("see")))
	}
	if c.Mark != 0 {
		ch.rules = append(ch.rules,
			// ct mark & 0x04000000 == 0x00000000 ct mark set ct mark | 0x04000000
			newRule(ctMark(c.Mark, 0), setCtMark(c.Mark)).
				explained("for --allow mark; not before it is established: an accept by mark must not let a new one in"))
	}
	if c.OneZone {
		ch.rules = append(ch.rules,
			// ct zone != 0 return
			newRule(otherZone(), leave()).
				explained("the queue does not report the zone, and so not which connection it is"))
	}
	if c.Carrier == CarrierSane {
		ch.rules = append(ch.rules,
			// ct direction original @ih,0,32 0x00000007 counter drop
			newRule(ctOriginal(), payloadStarts(saneRequest), counter(), drop()).
				explained("the one request that the carrier's parser would act on; it is not FTP"))
	}
	if !c.Watch {
		ch.rules = append(ch.rules,
			// ct status snat,dnat jump guard
			newRule(ctTranslated(), jump("guard")))
	}
	// ct id @renumbered goto renumber
	ch.rules = append(ch.rules, newRule(ctIn(setRenumbered), goTo("renumber")).
		explained("the daemon adjusts its sequence numbers, in each packet"))
	if c.Bare {
		ch.rules = append(ch.rules, bareRules(c)...)
	}
	ch.rules = append(ch.rules,
		// tcp flags & (syn | rst) != 0x0 return
		newRule(synOrReset(), leave()).explained("the data of a reset is not read by its receiver either"),
		// @ih,0,8 >= 0 goto data
		newRule(hasPayload(), goTo("data")))
	if !c.Bare {
		// ct id @asked tcp flags & (fin | syn | rst) == 0x0 goto divert
		ch.rules = append(ch.rules, newRule(ctIn(setAsked), tcpFlags("(fin | syn | rst) == 0x0", tcpFIN|tcpSYN|tcpRST, 0), goTo("divert")).
			explained("whether it acknowledges what did not pass here"))
	}
	return ch
}

// dataChain gets the packets of established control connections that carry data.
func dataChain(c Config) chain {
	ch := chain{name: "data", rules: []rule{
		// ct id @aside return
		newRule(ctIn(setAside), leave()).
			explained("left alone: encrypted, or not read for another reason"),
	}}
	if c.FastPath != 0 {
		// In no words of nft: match bpf, counter return
		ch.rules = append(ch.rules, newRule(program(c.FastPath), counter(), leave()).
			explained("lines that cannot affect a data connection, of connections whose state the filter has"))
	}
	// goto divert
	ch.rules = append(ch.rules, newRule(goTo("divert")))
	return ch
}

// bareRules queue bare acknowledgements: they show which end still answers, and
// the sequence numbers of a connection whose data is not read.
func bareRules(c Config) []rule {
	return []rule{
		// @ih,0,8 >= 0 ct id @aside return
		newRule(hasPayload(), ctIn(setAside), leave()).
			explained("the data of a session that is left alone is not read, its acknowledgements are"),
		// tcp flags & (fin | syn | rst) == 0x0 goto divert
		newRule(tcpFlags("(fin | syn | rst) == 0x0", tcpFIN|tcpSYN|tcpRST, 0), goTo("divert")),
	}
}

// beginChain gets the first packet of a control connection. If it carries data,
// which the session would never see, it is dropped: its sender retransmits it
// without (RFC 7413 section 4.2.1).
func beginChain(c Config) chain {
	// delete @aside { ct id }
	// @ih,0,8 >= 0 counter drop
	ch := chain{name: "begin", rules: []rule{
		newRule(dynset("delete", dynsetDelete, setAside)).explained("an earlier connection may have had the same id"),
	}}
	if !c.Watch {
		ch.rules = append(ch.rules, newRule(hasPayload(), counter(), drop()).explained("its data would pass unread; it is retransmitted without"))
	}
	ch.rules = append(ch.rules, carrierRules(c)...)
	return ch
}

// controlChain finds control connections among TCP packets. Nearly all packets
// belong to other connections: rules for the few are in chains of their own.
func controlChain(c Config) chain {
	ch := chain{name: "control"}
	// tcp flags & syn == syn jump syn
	ch.rules = append(ch.rules, newRule(anySYN(), jump("syn")))
	// A data connection to a port that happens to be a control port is expected.
	//
	// meta l4proto tcp ct state established ct original proto-dst @control_ports
	//	ct status & expected == 0 jump session
	ch.rules = append(ch.rules, newRule(l4proto(), ctState("established", expr.CtStateBitESTABLISHED),
		ctOriginalDport(setControlPorts), ctUnexpected(), jump("session")))
	if c.Stale {
		ch.rules = append(ch.rules, staleRule())
	}
	return ch
}

// synChain gets SYN and SYN-ACK of every connection.
func synChain(c Config) chain {
	ch := chain{name: "syn", rules: seenBefore()}
	if !c.Watch {
		// A rewrite may make a control segment longer.
		//
		// tcp dport @control_ports tcp option maxseg size set 1300
		// tcp sport @control_ports tcp option maxseg size set 1300
		ch.rules = append(ch.rules,
			newRule(dport(setControlPorts), clampMSS(controlMSS)),
			newRule(sport(setControlPorts), clampMSS(controlMSS)))
	}
	if c.QuietData() {
		// ct status expected ct helper "sane" ct event set new,related,destroy,reply,...
		ch.rules = append(ch.rules, newRule(ctExpected(), ofSane(), fewEvents()).
			explained("a data connection of ours: conntrack does not report each step of its end"))
	}
	if !c.Watch {
		ch.rules = append(ch.rules, againRules()...)
	}
	if c.Stale {
		// tcp flags & (fin | syn | rst | ack) == syn tcp dport @control_ports jump opening
		ch.rules = append(ch.rules, newRule(firstSYN(), dport(setControlPorts), jump("opening")))
	}
	// ct state new tcp flags & (fin | syn | rst | ack) == syn tcp dport @control_ports goto begin
	ch.rules = append(ch.rules, newRule(ctState("new", expr.CtStateBitNEW), firstSYN(), dport(setControlPorts), goTo("begin")))
	return ch
}

// againRules find the first packet of a connection that conntrack takes for one of an
// earlier connection, and what else begins in the middle of one.
func againRules() []rule {
	// meta l4proto tcp ct state established ct original proto-dst @control_ports
	//	ct status & expected == 0 jump again
	// ct state established tcp flags & (fin | syn | rst | ack) == syn ct status expected goto divert
	known := ctState("established", expr.CtStateBitESTABLISHED)
	return []rule{
		newRule(l4proto(), known, ctOriginalDport(setControlPorts), ctUnexpected(), jump("again")),
		newRule(known, firstSYN(), ctExpected(), goTo("divert")),
	}
}

// againChain gets those of control connections.
func againChain(c Config) chain {
	ch := chain{name: "again"}
	if c.OneZone {
		// ct zone != 0 return
		ch.rules = append(ch.rules, newRule(otherZone(), leave()))
	}
	// @ih,0,8 >= 0 counter drop
	// tcp flags & (fin | syn | rst | ack) == syn goto divert
	ch.rules = append(ch.rules,
		newRule(hasPayload(), counter(), drop()).
			explained("conntrack does not check its window, and its data would pass unread"),
		newRule(firstSYN(), goTo("divert")).
			explained("an entry made by ctnetlink: conntrack does not know that both ends have closed"))
	return ch
}

// hookChains are the base chains for control connections. Loopback packets
// were seen in output.
func hookChains(c Config) []chain {
	// meta l4proto tcp jump control
	control := newRule(l4proto(), jump("control"))
	pre := preroutingHook("prerouting", -150, "mangle", append([]rule{control}, wayRule(c)...)...)
	out := outputHook("output", -150, "mangle", append([]rule{control}, wayRule(c)...)...)
	if c.Block {
		pre.rules = append(blockedRules(), pre.rules...)
	}
	if c.Block || c.OneWay {
		pre.rules = append(seenBefore(), pre.rules...)
	}
	if len(c.VirtualServers) > 0 {
		out.rules = append([]rule{checkRule()}, out.rules...)
	}
	if c.Watch {
		return []chain{pre, out}
	}
	chains := []chain{pre, out}
	if c.Stale {
		out := &chains[1]
		out.rules = append(out.rules, localRules()...)
		chains = append(chains, unplacedHooks()...)
	}
	return append(chains, guardHooks()...)
}
