// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// allSets has one set of each kind.
func allSets() []set {
	c := Config{
		Claim: true, Stale: true, Block: true, PeerPorts: PortRange{50000, 50100}, VirtualServers: virtualServers,
		Ports:  []PortRange{{21, 21}, {990, 1000}, {65000, 65535}},
		Chains: []ChainRef{{FamilyINet, "filter", "forward"}, {FamilyINet, "filter", "input"}, {FamilyIPv6, "six", "pass"}},
	}.WithDefaults()
	return setsOf(c)
}

// TestSets: the sets that each configuration needs.
func TestSets(t *testing.T) {
	always := "control_ports renumbered aside "
	tests := []struct {
		name string
		c    Config
		want string
	}{
		{"default", Config{}, always + "guarded4 guarded6 asked"},
		{"watch", Config{Watch: true, Claim: true, Block: true, Chains: []ChainRef{forward}}, always + "asked"},
		{"stale", Config{Stale: true}, always + "guarded4 guarded6 seen4 seen6 asked"},
		{"bare acknowledgements are queued anyway", Config{Bare: true}, always + "guarded4 guarded6"},
		{"claim", Config{Claim: true}, always + "guarded4 guarded6 asked pinholes4 pinholes6"},
		{"peers without claims", Config{PeerPorts: PortRange{1, 2}}, always + "guarded4 guarded6 asked"},
		{"peers", Config{Claim: true, PeerPorts: PortRange{1, 2}}, always + "guarded4 guarded6 asked pinholes4 pinholes6 peers4 peers6"},
		{"block", Config{Block: true}, always + "guarded4 guarded6 asked pasvport_blocked4 pasvport_blocked6"},
		{"virtual servers", Config{VirtualServers: virtualServers}, always + "guarded4 guarded6 asked checks servers4_ftp servers6_ftp servers4_none"},
		{"chains", Config{Table: "pv2", Chains: []ChainRef{{FamilyINet, "filter", "forward"}, {FamilyINet, "filter", "input"}, {FamilyIPv6, "six", "pass"}}},
			always + "guarded4 guarded6 asked pv24 pv26 pv26"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range setsOf(tt.c.WithDefaults()) {
				got = append(got, s.name)
			}
			if d := cmp.Diff(strings.Fields(tt.want), got); d != "" {
				t.Errorf("sets (-want +got):\n%s", d)
			}
		})
	}
}

// TestSetEncoding: the encoding of a set matches its text.
func TestSetEncoding(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range allSets() {
		if seen[s.fullName] {
			t.Errorf("%s is there twice", s.fullName)
		}
		seen[s.fullName] = true
		t.Run(s.fullName, func(t *testing.T) {
			a := collect(appendSet(nil, &s, 7))
			if got := attrString(a[unix.NFTA_SET_TABLE]) + " " + attrString(a[unix.NFTA_SET_NAME]); s.fullName != s.family.String()+" "+got {
				t.Errorf("name %q", got)
			}
			text := strings.Join(s.properties(), "\n")
			flags := number(a[unix.NFTA_SET_FLAGS])
			for word, flag := range map[string]uint32{"interval": unix.NFT_SET_INTERVAL, "dynamic": unix.NFT_SET_EVAL, "timeout": unix.NFT_SET_TIMEOUT} {
				_, line, _ := strings.Cut(text, "flags ")
				line, _, _ = strings.Cut(line, "\n")
				if has := slices.Contains(strings.Split(line, ","), word); has != (flags&flag != 0) {
					t.Errorf("flags %#x, but %q in\n%s", flags, word, text)
				}
			}
			if has := s.kind() == "map"; has != (flags&unix.NFT_SET_MAP != 0) || has != (number(a[unix.NFTA_SET_DATA_LEN]) != 0) || has != strings.Contains(text, " : ") {
				t.Errorf("a %s with flags %#x, values of %d bytes and\n%s", s.kind(), flags, number(a[unix.NFTA_SET_DATA_LEN]), text)
			}
			if got := milliseconds(a[unix.NFTA_SET_TIMEOUT]); got != s.timeout || got != 0 && !strings.Contains(text, "timeout "+duration(got)) {
				t.Errorf("timeout %v, want %v as in\n%s", got, s.timeout, text)
			}
			if got := number(a[unix.NFTA_SET_KEY_LEN]); got == 0 || got > maxValue {
				t.Errorf("keys of %d bytes", got)
			}
			comment, has := udataString(a[unix.NFTA_SET_USERDATA], udataSetComment)
			if comment != s.comment || has != strings.Contains(text, "comment ") {
				t.Errorf("comment %q, want %q as in\n%s", comment, s.comment, text)
			}
			if words := text[:strings.Index(text, " ")]; (words == "typeof") != (s.typeof != nil) {
				t.Errorf("%q in\n%s", words, text)
			}
			for _, e := range s.fixed {
				if uint32(e.key.n) != s.key.size || uint32(e.data.n) != s.data.size {
					t.Errorf("element %+v of %d and %d bytes, want %d and %d", e, e.key.n, e.data.n, s.key.size, s.data.size)
				}
			}
		})
	}
}

// TestSetTakes: a key is accepted only by the sets of its content and family.
func TestSetTakes(t *testing.T) {
	a4, a6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	to4, to6 := netip.AddrPortFrom(a4, 50000), netip.AddrPortFrom(a6, 50000)
	tests := []struct {
		name string
		c    content
		key  value
		want string
	}{
		{"claim", keptClaims, pinholeKey(a4, to4), "inet pasvport pinholes4"},
		{"claim of IPv6", keptClaims, pinholeKey(a6, to6), "inet pasvport pinholes6"},
		{"claim of two families", keptClaims, pinholeKey(a4, to6), ""},
		{"forward", keptForwards, pinholeKey(a4, to4), "inet filter pasvport4"},
		{"forward of IPv6", keptForwards, pinholeKey(a6, to6), "inet filter pasvport6, ip6 six pasvport6"},
		{"renumbered", keptRenumbered, idKey(1), "inet pasvport renumbered"},
		{"aside", keptAside, idKey(1), "inet pasvport aside"},
		{"peer", keptPeers, peerKey(a4, a4), "inet pasvport peers4"},
		{"peer of IPv6", keptPeers, peerKey(a6, a6), "inet pasvport peers6"},
		{"blocked", keptBlocked, blockedKey(a4), "inet pasvport pasvport_blocked4"},
		{"blocked, of IPv6", keptBlocked, blockedKey(a6), "inet pasvport pasvport_blocked6"},
		{"nothing", keptNothing, idKey(1), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range allSets() {
				if s.takes(tt.c, &tt.key) {
					got = append(got, s.fullName)
				}
			}
			if d := cmp.Diff(tt.want, strings.Join(got, ", ")); d != "" {
				t.Errorf("taken by (-want +got):\n%s", d)
			}
		})
	}
}

// fixedOf are the elements of the first set with this name.
func fixedOf(t *testing.T, name string) []element {
	t.Helper()
	for _, s := range allSets() {
		if s.name == name {
			return s.fixed
		}
	}
	t.Fatalf("no set %s", name)
	return nil
}

// TestPortElements: a range is its first port and a mark after its last, if there
// is such a port.
func TestPortElements(t *testing.T) {
	var got []string
	for _, e := range fixedOf(t, setControlPorts) {
		words := e.text
		if e.mark {
			words = "end"
		}
		got = append(got, words+" at "+PortRange{binary.BigEndian.Uint16(e.key.bytes()), binary.BigEndian.Uint16(e.key.bytes())}.String())
	}
	want := []string{"21 at 21", "end at 22", "990-1000 at 990", "end at 1001", "65000-65535 at 65000"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("elements (-want +got):\n%s", d)
	}
}

// TestServerElements: a server has its slot's number, and one without a slot a
// number after these, which Text does not print.
func TestServerElements(t *testing.T) {
	v := virtualServers[1]
	v.Slots = slices.Clone(v.Slots)
	v.Slots[1] = netip.AddrPort{}
	v.Parked = []Parked{{ends("[fd00::9]:2121")[0], "down"}}
	s := serverMap("pasvport", &v)
	type row struct {
		Slot         uint32
		Server, Note string
		Printed      bool
	}
	var got []row
	for _, e := range s.fixed {
		to, ok := e.data.asServer()
		if !ok {
			t.Errorf("element %+v", e)
		}
		got = append(got, row{binary.NativeEndian.Uint32(e.key.bytes()), to.String(), e.note, e.text != ""})
	}
	want := []row{{0, "[fd00::1]:21", "", true}, {2, "[fd00::1]:21", "", true}, {3, "[fd00::9]:2121", "down", false}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("elements (-want +got):\n%s", d)
	}
	if text := strings.Join(s.properties(), "\n"); strings.Contains(text, "2121") || !strings.Contains(text, "2 : fd00::1 . 21") {
		t.Errorf("text:\n%s", text)
	}
}

// TestElementRoundTrip: an encoded element parses to itself.
func TestElementRoundTrip(t *testing.T) {
	client, to := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddrPort("[fd00::7]:40000")
	tests := []struct {
		name string
		e    element
	}{
		{"key", element{key: idKey(0x01020304)}},
		{"timeout and note", element{key: pinholeKey(client, to), timeout: 90500 * time.Millisecond, note: "said by 227"}},
		{"end of a range", element{key: onlyPort(22), mark: true}},
		{"of a map", element{key: slotKey(4), data: serverData(to), note: "down"}},
		{"longest key", element{key: value{}.port(1).port(2).addr(client).addr(client)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []element
			body := appendAttr(nil, unix.NFTA_SET_ELEM_LIST_ELEMENTS, appendElement(appendElement(nil, &tt.e), &tt.e))
			eachElement(body, func(e *element) { got = append(got, *e) })
			if !slices.Equal(got, []element{tt.e, tt.e}) {
				t.Errorf("read %+v, want %+v twice", got, tt.e)
			}
		})
	}
	short := element{key: idKey(1), timeout: time.Microsecond}
	if e, _ := parseElement(appendElement(nil, &short)[attrHeader:]); e.timeout != time.Millisecond {
		t.Errorf("a timeout of %v became %v: 0 would be the set's", short.timeout, e.timeout)
	}
	long := element{key: idKey(1), note: strings.Repeat("x", 300)}
	if e, _ := parseElement(appendElement(nil, &long)[attrHeader:]); e.note != long.note[:maxNote] {
		t.Errorf("a note of 300 bytes became %q", e.note)
	}
	if _, ok := parseElement(appendAttr(nil, unix.NFTA_SET_ELEM_KEY, appendAttr(nil, unix.NFTA_DATA_VALUE, make([]byte, maxValue+1)))); ok {
		t.Error("a key that is too long was read")
	}
}

// TestReadElsewhere: values of another kind are rejected.
func TestReadElsewhere(t *testing.T) {
	id := idKey(1)
	if src, dst, ok := id.asPinhole(); ok {
		t.Errorf("an id was read as a pinhole from %v to %v", src, dst)
	}
	pair := peerKey(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"))
	if got, ok := pair.asID(); ok {
		t.Errorf("a pair was read as the id %d", got)
	}
	if to, ok := id.asServer(); ok {
		t.Errorf("an id was read as the server %v", to)
	}
	var nothing value
	if _, ok := nothing.asServer(); ok {
		t.Error("nothing was read as a server")
	}
}
