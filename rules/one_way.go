// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// wayRule finds the packets of data connections.
func wayRule(c Config) []rule {
	if !c.OneWay {
		return nil
	}
	// meta l4proto tcp ct status expected jump way
	return []rule{newRule(l4proto(), ctExpected(), jump("way"))}
}

// wayChains decide which payload of a data connection may pass. Its first packet
// adds its id to the set of its pinhole's way at that time; the daemon adds what
// becomes known later.
func wayChains(c Config) []chain {
	if !c.OneWay {
		return nil
	}
	begins := chain{name: "way_begins"}
	var first []chain
	for _, w := range decided {
		for _, ip := range ipFamilies {
			// ip saddr . ip daddr . tcp dport @way_reply4 goto begin_reply
			begins.rules = append(begins.rules, newRule(pinhole(ip, setName(w.ids(), ip)), goTo(w.chain())))
		}
		first = append(first, beginChainOf(w))
	}
	// @ih,0,8 >= 0 goto way_payload
	// tcp flags & (fin | syn | rst | ack) == syn goto way_begins
	all := chain{name: "way", rules: []rule{
		newRule(hasPayload(), goTo("way_payload")).explained("acknowledgements and ends pass both ways"),
		newRule(firstSYN(), goTo("way_begins")),
	}}
	// ct direction original ct id @way_original return
	// ct direction reply ct id @way_reply return
	// tcp flags & rst == rst return
	// tcp flags & (fin | syn | rst | ack) == syn goto way_begins
	// ct id @way_undecided counter drop
	// ct direction original ct id @way_reply goto way_ends
	// ct direction reply ct id @way_original goto way_ends
	// meta l4proto tcp ct id @wrong_way counter reject with tcp reset
	payload := chain{name: "way_payload", rules: []rule{
		newRule(ctOriginal(), ctIn(WayOriginal.ids()), leave()).explained("nearly all packets stop here"),
		newRule(ctReply(), ctIn(WayReply.ids()), leave()),
		newRule(tcpFlags("rst == rst", tcpRST, tcpRST), leave()).explained("the data of a reset is not read by its receiver either"),
		newRule(firstSYN(), goTo("way_begins")),
		newRule(ctIn(WayUndecided.ids()), counter(), drop()).explained("no command has set the direction of the transfer yet: it is retransmitted"),
		newRule(ctOriginal(), ctIn(WayReply.ids()), goTo("way_ends")),
		newRule(ctReply(), ctIn(WayOriginal.ids()), goTo("way_ends")),
		newRule(l4proto(), ctIn(setEnded), counter(), reset()).explained("the other end learns of it when it sends"),
	}}
	// update @wrong_way { ct id }
	// delete @way_original { ct id }
	// delete @way_reply { ct id }
	// meta l4proto tcp counter reject with tcp reset
	ends := chain{name: "way_ends", rules: []rule{
		newRule(dynset("update", unix.NFT_DYNSET_OP_UPDATE, setEnded)),
		newRule(dynset("delete", dynsetDelete, WayOriginal.ids())).explained("what it may carry ends, too"),
		newRule(dynset("delete", dynsetDelete, WayReply.ids())),
		newRule(l4proto(), counter(), reset()),
	}}
	return append(first, begins, ends, payload, all)
}

func (w Way) chain() string {
	return [...]string{"", "begin_undecided", "begin_original", "begin_reply"}[w]
}

// beginChainOf adds the id of a data connection to the set of a way, and removes
// it from the others: an earlier connection may have had the same id.
func beginChainOf(w Way) chain {
	// @ih,0,8 >= 0 counter drop
	// delete @way_original { ct id }
	// add @way_reply { ct id } return
	// counter drop
	ch := chain{name: w.chain(), rules: []rule{
		newRule(hasPayload(), counter(), drop()).explained("its data would pass unseen; it is retransmitted without"),
	}}
	for _, other := range decided {
		if other != w {
			ch.rules = append(ch.rules, newRule(dynset("delete", dynsetDelete, other.ids())))
		}
	}
	return chain{name: ch.name, rules: append(ch.rules,
		newRule(dynset("delete", dynsetDelete, setEnded)),
		newRule(dynset("add", unix.NFT_DYNSET_OP_ADD, w.ids()), leave()),
		newRule(counter(), drop()).explained("the set is full"))}
}

// ctReply is: ct direction reply
func ctReply() clause {
	return plain("ct direction reply",
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg},
		equal([]byte{1})) // IP_CT_DIR_REPLY
}
