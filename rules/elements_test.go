// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/integration/stage"
)

// held are the keys of a set, and the notes of its elements.
func held(t *testing.T, f *Firewall, s set) map[value]string {
	t.Helper()
	have := map[value]string{}
	if err := f.conn.elements(&s, func(e *element) { have[e.key] = e.note }); err != nil {
		t.Fatal(err)
	}
	return have
}

// TestHealElements: what is remembered is put back, with its note, when someone
// flushes its set or deletes the table, and Heal names the set where that is
// certain: an administrator may unblock a client.
func TestHealElements(t *testing.T) {
	client, client6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	server, server6 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::2")
	tests := []struct {
		name   string
		set    set
		fill   func(*Firewall) error
		want   map[value]string
		flush  bool // whether a flush is noticed
		empty  func(*Firewall) error
		remain map[value]string
	}{
		{"renumbered", renumberedSet("pasvport"),
			func(f *Firewall) error {
				return errors.Join(f.Renumber(1, "one"), f.Renumber(2, ""), f.Renumber(1, "first"))
			},
			map[value]string{idKey(1): "first", idKey(2): ""}, true,
			func(f *Firewall) error { return errors.Join(f.Forget(1), f.Forget(1), f.Forget(3)) }, map[value]string{idKey(2): ""}},
		{"aside", asideSet("pasvport"),
			func(f *Firewall) error {
				return errors.Join(f.LeaveAlone(1, "one"), f.LeaveAlone(2, "two"), f.LeaveAlone(1, "first"))
			},
			map[value]string{idKey(1): "first", idKey(2): "two"}, true,
			func(f *Firewall) error { return errors.Join(f.TakeUp(1), f.TakeUp(1), f.TakeUp(3)) }, map[value]string{idKey(2): "two"}},
		{"peers4", peerSet("pasvport", FamilyIPv4),
			func(f *Firewall) error { return errors.Join(f.AllowPeer(client, server), f.AllowPeer(client, client)) },
			map[value]string{peerKey(client, server): "", peerKey(client, client): ""}, true,
			func(f *Firewall) error {
				return errors.Join(f.ForgetPeer(client, server), f.ForgetPeer(client, server))
			},
			map[value]string{peerKey(client, client): ""}},
		{"peers6", peerSet("pasvport", FamilyIPv6),
			func(f *Firewall) error { return f.AllowPeer(client6, server6) },
			map[value]string{peerKey(client6, server6): ""}, true,
			func(f *Firewall) error { return f.ForgetPeer(client6, server6) }, map[value]string{}},
		{"blocked4", blockedSet("pasvport", FamilyIPv4),
			func(f *Firewall) error { return errors.Join(f.Block(client, time.Hour), f.Block(client, time.Minute)) },
			map[value]string{blockedKey(client): ""}, false,
			func(f *Firewall) error {
				was, err := f.Unblock(client)
				again, err2 := f.Unblock(client)
				if !was || again {
					t.Errorf("Unblock: %v, and again %v", was, again)
				}
				return errors.Join(err, err2)
			}, map[value]string{}},
		{"blocked6", blockedSet("pasvport", FamilyIPv6),
			func(f *Firewall) error { return f.Block(client6, time.Hour) },
			map[value]string{blockedKey(server6): ""}, false, // one network
			func(f *Firewall) error { _, err := f.Unblock(server6); return err }, map[value]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := stage.New(t)
			f := installed(t, n, Config{Queue: testQueue(t, n), Claim: true, PeerPorts: PortRange{50000, 50100}, Block: true})
			if err := tt.fill(f); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, held(t, f, tt.set), cmp.AllowUnexported(value{})); d != "" {
				t.Errorf("filled (-want +got):\n%s", d)
			}
			if h, err := f.Heal(); err != nil || h.Missing != nil {
				t.Errorf("nothing was changed, but healed %q, %v", h.Missing, err)
			}
			n.Run(t, "nft", "flush", "set", "inet", "pasvport", tt.set.name)
			var missing []string
			if tt.flush {
				missing = []string{"elements of set inet pasvport " + tt.set.name}
			}
			if h, err := f.Heal(); err != nil || !slices.Equal(h.Missing, missing) {
				t.Errorf("flushed: healed %q, %v, want %q", h.Missing, err, missing)
			}
			n.Run(t, "nft", "delete", "table", "inet", "pasvport")
			if h, err := f.Heal(); err != nil || len(h.Missing) != 1 {
				t.Errorf("without a table: healed %q, %v", h.Missing, err)
			}
			if d := cmp.Diff(tt.want, held(t, f, tt.set), cmp.AllowUnexported(value{})); d != "" {
				t.Errorf("healed (-want +got):\n%s", d)
			}
			if err := tt.empty(f); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.remain, held(t, f, tt.set), cmp.AllowUnexported(value{})); d != "" {
				t.Errorf("taken out (-want +got):\n%s", d)
			}
			n.Run(t, "nft", "delete", "table", "inet", "pasvport")
			if _, err := f.Heal(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.remain, held(t, f, tt.set), cmp.AllowUnexported(value{})); d != "" {
				t.Errorf("taken out, and healed (-want +got):\n%s", d)
			}
		})
	}
}

// TestBlocked: a block expires in time, also one that was prolonged or that an
// earlier run left, and one that was added by hand is listed with the others.
func TestBlocked(t *testing.T) {
	n := stage.New(t)
	c := Config{Queue: testQueue(t, n), Block: true}
	f := installed(t, n, c)
	client, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	if err := errors.Join(f.Block(client, 10*time.Second), f.Block(client, time.Hour), f.Block(other, time.Minute)); err != nil {
		t.Fatal(err)
	}
	n.Run(t, "nft", "add", "element", "inet", "pasvport", "pasvport_blocked4", "{ 192.0.2.9 }")
	check := func(f *Firewall) {
		t.Helper()
		list, err := f.Blocked()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]time.Duration{"192.0.2.1/32": time.Hour, "192.0.2.9/32": BlockedTime, "2001:db8::/64": time.Minute}
		for _, b := range list {
			if end := want[b.Client.String()]; b.Expires > end || b.Expires < end-30*time.Second {
				t.Errorf("%s is blocked for %v, want %v", b.Client, b.Expires, end)
			}
		}
		if len(list) != len(want) {
			t.Errorf("blocked are %v, want %d", list, len(want))
		}
	}
	check(f)
	next := installed(t, n, c)
	check(next)
	n.Run(t, "nft", "delete", "table", "inet", "pasvport")
	if _, err := next.Heal(); err != nil {
		t.Fatal(err)
	}
	check(next)
}
