// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Names of the sets in our table. Sets with addresses exist once for each family:
// 4 or 6 completes the name.
const (
	setControlPorts = "control_ports"

	setRenumbered = "renumbered" // connections whose sequence numbers the daemon adjusts
	setAside      = "aside"      // connections that are left alone
	setAsked      = "asked"      // connections whose bare acknowledgements are queued
	setChecks     = "checks"     // connections that check a server

	setGuarded = "guarded" // connections that are translated or edited, see guard.go
	setSeen    = "seen"    // connections seen in both directions, see stale.go

	setPinholes = "pinholes"         // announced data connections
	setPeers    = "peers"            // clients of encrypted sessions, with the server address that they dialled
	setBlocked  = "pasvport_blocked" // clients whose logins failed too often

	setEnded = "wrong_way" // data connections that were ended because of payload in the wrong direction
)

const (
	// asideTime is how long an element of setAside lasts. LeaveAlone is called
	// again for a connection that is queued after that.
	asideTime = 24 * time.Hour

	// AskedTime is how long ShowAcks lasts. A requested acknowledgement arrives
	// at once, or not at all, and is then requested again.
	AskedTime = 10 * time.Second

	// BlockedTime is how long a client is blocked by default.
	BlockedTime = 10 * time.Minute

	// checkTime is longer than a check of a server.
	checkTime = time.Minute

	// endsTime is how long a connection stays in setGuarded and setSeen without a
	// packet. Invalid packets arrive among valid ones.
	endsTime = 10 * time.Minute

	// endsSize limits the size of each; nft's default is too small for a busy
	// site.
	endsSize = 1 << 20
)

// ipFamilies are the families for which a set with addresses is made.
var ipFamilies = [2]Family{FamilyIPv4, FamilyIPv6}

// setName completes the name of a set with addresses.
func setName(name string, ip Family) string {
	if ip == FamilyIPv6 {
		return name + "6"
	}
	return name + "4"
}

// ownSets are the sets of our table; c has its defaults.
func ownSets(c Config) []set {
	sets := []set{portSet(c), renumberedSet(c.Table), asideSet(c.Table)}
	each := func(make func(string, Family) set) {
		for _, ip := range ipFamilies {
			sets = append(sets, make(c.Table, ip))
		}
	}
	if !c.Watch {
		each(guardedSet)
	}
	if c.Stale {
		each(seenSet)
	}
	if !c.Bare {
		sets = append(sets, askedSet(c.Table))
	}
	if c.Claim {
		each(func(table string, ip Family) set {
			s := pinholeSet(FamilyINet, table, setName(setPinholes, ip), ip, c.PinholeTimeout)
			s.keeps = keptClaims
			return s
		})
	}
	if c.hasPeers() {
		each(peerSet)
	}
	if c.Block {
		each(blockedSet)
	}
	sets = append(sets, waySets(c)...)
	if len(c.VirtualServers) > 0 {
		sets = append(sets, checksSet(c.Table))
	}
	for i := range c.VirtualServers {
		sets = append(sets, serverMap(c.Table, &c.VirtualServers[i]))
	}
	return sets
}

// adminSets are the sets for the chains of c.
func adminSets(c Config) []set {
	type place struct {
		f     Family
		table string
	}
	seen := map[place]bool{}
	var sets []set
	for _, r := range c.Chains {
		if seen[place{r.Family, r.Table}] {
			continue
		}
		seen[place{r.Family, r.Table}] = true
		for _, ip := range ipFamilies {
			if !r.Family.Has(ip) {
				continue
			}
			s := pinholeSet(r.Family, r.Table, setName(c.Table, ip), ip, c.PinholeTimeout)
			s.comment, s.keeps = c.Comment(), keptForwards
			sets = append(sets, s)
		}
	}
	return sets
}

// portSet is: set control_ports { type inet_service; flags interval; elements = { 21 }; }
func portSet(c Config) set {
	s := newSet(FamilyINet, c.Table, setControlPorts, typeOf(nftables.TypeInetService))
	s.interval = true
	// To the kernel a range is an element at its first port and an end mark after
	// its last, if there is such a port.
	for _, r := range c.Ports {
		s.fixed = append(s.fixed, element{key: onlyPort(r.Low), text: r.String()})
		if r.High < math.MaxUint16 {
			s.fixed = append(s.fixed, element{key: onlyPort(r.High + 1), mark: true})
		}
	}
	return s
}

// typeofCtID is the user data that nft stores for "typeof ct id": the key's byte
// order, and the expression with its key and direction.
var typeofCtID = []byte{
	udataSetKeyOrder, 4, 2, 0, 0, 0,
	3, 20, 0, 4, 12, 0, 0, 0, 1, 12, 0, 4, unix.NFT_CT_ID, 0, 0, 0, 1, 4, 0xff, 0xff, 0xff, 0xff,
}

// idSet is a set of conntrack ids.
func idSet(table, name string) set {
	s := newSet(FamilyINet, table, name, integer("ct id"))
	s.typeof = typeofCtID
	return s
}

// idKey is: ct id
func idKey(id uint32) value { return value{}.number(id) }

// renumberedSet is: set renumbered { typeof ct id; }
func renumberedSet(table string) set {
	s := idSet(table, setRenumbered)
	s.keeps = keptRenumbered
	return s
}

// asideSet is: set aside { typeof ct id; flags dynamic,timeout; timeout 86400s; }
//
// Each element that the daemon adds has a note with the reason, which outlives
// the daemon.
func asideSet(table string) set {
	s := idSet(table, setAside)
	s.dynamic, s.timeout, s.keeps = true, asideTime, keptAside
	return s
}

// askedSet is: set asked { typeof ct id; flags timeout; timeout 10s; }
func askedSet(table string) set {
	s := idSet(table, setAsked)
	s.timeout = AskedTime
	return s
}

// checksSet is: set checks { typeof ct id; flags dynamic,timeout; timeout 60s; }
func checksSet(table string) set {
	s := idSet(table, setChecks)
	s.dynamic, s.timeout = true, checkTime
	return s
}

// guardedSet and seenSet are, for instance:
// set guarded4 { type inet_service . inet_service . ipv4_addr . ipv4_addr; size 1048576; flags dynamic,timeout; timeout 600s; }
func guardedSet(table string, ip Family) set { return endsSet(table, setName(setGuarded, ip), ip) }

func seenSet(table string, ip Family) set { return endsSet(table, setName(setSeen, ip), ip) }

func endsSet(table, name string, ip Family) set {
	s := newSet(FamilyINet, table, name, typeOf(nftables.TypeInetService, nftables.TypeInetService, addrType(ip), addrType(ip)))
	s.dynamic, s.timeout, s.size = true, endsTime, endsSize
	return s
}

// pinholeSet is: set name { type ipv4_addr . ipv4_addr . inet_service; flags timeout; timeout 60s; }
func pinholeSet(f Family, table, name string, ip Family, timeout time.Duration) set {
	s := newSet(f, table, name, typeOf(addrType(ip), addrType(ip), nftables.TypeInetService))
	s.timeout = timeout
	return s
}

// peerSet is: set peers4 { type ipv4_addr . ipv4_addr; }
func peerSet(table string, ip Family) set {
	s := newSet(FamilyINet, table, setName(setPeers, ip), typeOf(addrType(ip), addrType(ip)))
	s.keeps = keptPeers
	return s
}

// blockedSet is: set pasvport_blocked4 { type ipv4_addr; flags timeout; timeout 600s; }
func blockedSet(table string, ip Family) set {
	s := newSet(FamilyINet, table, setName(setBlocked, ip), typeOf(addrType(ip)))
	s.timeout, s.keeps = BlockedTime, keptBlocked
	return s
}

// waySets are, for each way:
//
//	set way_reply { typeof ct id; flags dynamic; }
//	set way_reply4 { type ipv4_addr . ipv4_addr . inet_service; flags timeout; timeout 60s; }
func waySets(c Config) (sets []set) {
	if !c.OneWay {
		return nil
	}
	for _, w := range decided {
		sets = append(sets, dataSet(c.Table, w))
		for _, ip := range ipFamilies {
			s := pinholeSet(FamilyINet, c.Table, setName(w.ids(), ip), ip, c.PinholeTimeout)
			s.keeps = firstOf(w)
			sets = append(sets, s)
		}
	}
	return append(sets, endedSet(c.Table))
}

func dataSet(table string, w Way) set {
	s := idSet(table, w.ids())
	s.dynamic, s.keeps = true, dataOf(w)
	return s
}

// endedSet is: set wrong_way { typeof ct id; flags dynamic,timeout; timeout 86400s; }
func endedSet(table string) set {
	s := idSet(table, setEnded)
	s.dynamic, s.timeout = true, asideTime
	return s
}

// serverMap is: map servers4_ftp { typeof numgen inc mod 60 : ip daddr . tcp dport; }
func serverMap(table string, v *VirtualServer) set {
	word := "ip"
	if v.ip() == FamilyIPv6 {
		word = "ip6"
	}
	s := newSet(FamilyINet, table, v.mapName(), integer(fmt.Sprintf("numgen inc mod %d", len(v.Slots))))
	s.data = typeOf(addrType(v.ip()), nftables.TypeInetService)
	s.data.words = word + " daddr . tcp dport"
	s.typeof = typeofSlot(v.ip(), len(v.Slots))
	for i, a := range v.Slots {
		if a.IsValid() {
			s.fixed = append(s.fixed, element{key: slotKey(i), data: serverData(a), text: fmt.Sprintf("%d : %s . %d", i, a.Addr(), a.Port())})
		}
	}
	for i, p := range v.Parked {
		s.fixed = append(s.fixed, element{key: slotKey(len(v.Slots) + i), data: serverData(p.Server), note: p.Why})
	}
	return s
}

// slotKey is the number of a slot.
func slotKey(i int) value { return value{}.hostNumber(uint32(i)) }

// typeofSlot is the user data that nft stores for the types of a map of n slots:
// for key and data their byte order and an expression, with nft's own numbers
// (EXPR_NUMGEN, PROTO_DESC_IP and the like). The key is always numgen's: nft
// 1.0.6 crashes when it lists a map with "typeof jhash".
func typeofSlot(ip Family, n int) []byte {
	tlv := func(typ uint8, parts ...[]byte) []byte {
		value := slices.Concat(parts...)
		return append([]byte{typ, uint8(len(value))}, value...)
	}
	number := func(typ uint8, v int) []byte { return tlv(typ, binary.NativeEndian.AppendUint32(nil, uint32(v))) }
	field := func(i uint8, proto, field int) []byte {
		return tlv(i, number(0, 7), tlv(1, number(0, proto), number(1, field)))
	}
	daddr := field(0, 12, 12)
	if ip == FamilyIPv6 {
		daddr = field(0, 13, 9)
	}
	return slices.Concat(number(udataSetKeyOrder, 1), number(1, 0),
		tlv(3, number(0, 23), tlv(1, number(0, 0), number(1, n), number(2, 0))),
		tlv(4, number(0, 13), tlv(1, daddr, field(1, 8, 2))))
}
