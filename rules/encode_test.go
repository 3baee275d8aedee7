// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// operations describes the operations of a batch.
func operations(b *batch) (list []string) {
	for _, o := range b.ops {
		list = append(list, o.op+" "+o.object)
	}
	return list
}

// filled is a batch that fill made.
func filled(fill func(*batch)) *batch {
	b := &batch{seq: 100}
	b.reset(7)
	fill(b)
	return b
}

// TestBatch: each operation is a message of its own, only the last one requests
// an answer, and an answer is the error of its operation.
func TestBatch(t *testing.T) {
	b := filled(func(b *batch) {
		b.deleteTable(FamilyINet, "pasvport")
		b.addTable(FamilyINet, "pasvport", TableComment, unix.NLM_F_EXCL)
		b.deleteRule(forward, 9)
	})
	b.close()
	type row struct {
		Type   uint16
		Answer bool
	}
	var got []row
	at := 0
	for m := range messages(b.buf) {
		got = append(got, row{m.typ, binary.NativeEndian.Uint16(b.buf[at+6:])&unix.NLM_F_ACK != 0})
		at += unix.NLMSG_HDRLEN + len(m.body)
		if want := 100 + uint32(len(got)) - 1; m.seq != want {
			t.Errorf("message %d has the number %d, want %d", len(got), m.seq, want)
		}
	}
	nft := func(msg uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | msg }
	want := []row{{unix.NFNL_MSG_BATCH_BEGIN, false}, {nft(unix.NFT_MSG_DELTABLE), false}, {nft(unix.NFT_MSG_NEWTABLE), false},
		{nft(unix.NFT_MSG_DELRULE), true}, {unix.NFNL_MSG_BATCH_END, false}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
	for seq, want := range map[uint32]string{
		101: "nftables: delete table inet pasvport: operation not permitted",
		103: "nftables: delete rule from chain inet filter forward: operation not permitted",
		100: "nftables: commit: operation not permitted",
		999: "nftables: commit: operation not permitted",
	} {
		if got := b.failed(seq, unix.EPERM); got.Error() != want || !errors.Is(got, unix.EPERM) {
			t.Errorf("the answer to message %d is %q, want %q", seq, got, want)
		}
	}
	if b.empty() || !filled(func(*batch) {}).empty() {
		t.Error("empty reports the wrong batch")
	}
}

// TestAddElements: whatever the number of elements, no message exceeds the
// kernel's limit of an attribute, and none is lost.
func TestAddElements(t *testing.T) {
	note := string(slices.Repeat([]byte{'x'}, maxNote))
	for _, n := range []int{0, 1, maxElements - 1, maxElements, maxElements + 1, 5*maxElements + 7} {
		s := pinholeSet(FamilyINet, "pasvport", "pinholes6", FamilyIPv6, 0)
		for i := range n {
			s.fixed = append(s.fixed, element{key: value{}.number(uint32(i)), note: note})
		}
		sizes, seen, added := []int{}, 0, 0
		b := filled(func(b *batch) { added = b.addElements(&s, s.fixedElements()) })
		for m := range messages(b.buf) {
			if m.typ&0xff != unix.NFT_MSG_NEWSETELEM {
				continue
			}
			body := m.body[4:]
			sizes = append(sizes, len(collect(body)[unix.NFTA_SET_ELEM_LIST_ELEMENTS]))
			eachElement(body, func(e *element) {
				if id, _ := e.key.asID(); id != uint32(seen) {
					t.Fatalf("element %d of %d is %d", seen, n, id)
				}
				seen++
			})
		}
		if want := (n + maxElements - 1) / maxElements; len(sizes) != want || len(b.ops) != want {
			t.Errorf("%d elements: %d messages, want %d", n, len(sizes), want)
		}
		if seen != n || added != n {
			t.Errorf("%d elements: %d were added, %d are in the messages", n, added, seen)
		}
		for _, size := range sizes {
			if size == 0 || size > 60<<10 {
				t.Errorf("%d elements: a list of %d bytes", n, size)
			}
		}
	}
}

// TestElementOperations: within one transaction an existing element can be
// renewed, and a missing one deleted.
func TestElementOperations(t *testing.T) {
	s := asideSet("pasvport")
	e := element{key: idKey(1), note: "why"}
	b := filled(func(b *batch) {
		b.renewElement(&s, &e)
		b.dropElement(&s, e.key)
	})
	want := []string{"add element to inet pasvport aside", "delete element from inet pasvport aside", "add element to inet pasvport aside",
		"add element to inet pasvport aside", "delete element from inet pasvport aside"}
	if d := cmp.Diff(want, operations(b)); d != "" {
		t.Errorf("operations (-want +got):\n%s", d)
	}
	var notes []string
	for m := range messages(b.buf) {
		if m.typ>>8 == unix.NFNL_SUBSYS_NFTABLES {
			eachElement(m.body[4:], func(e *element) { notes = append(notes, e.note) })
		}
	}
	if d := cmp.Diff([]string{"", "", "why", "", ""}, notes); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
}

// TestImpliedProtocols: a match of a header follows one of its protocol, once,
// unless the table or an earlier clause implies it.
func TestImpliedProtocols(t *testing.T) {
	tests := []struct {
		name  string
		f     Family
		rule  rule
		metas []expr.MetaKey
	}{
		{"none", FamilyINet, newRule(counter(), drop()), nil},
		{"TCP", FamilyINet, newRule(dport("a"), sport("b")), []expr.MetaKey{expr.MetaKeyL4PROTO}},
		{"TCP, said already", FamilyINet, newRule(l4proto(), dport("a")), []expr.MetaKey{expr.MetaKeyL4PROTO}},
		{"IPv4 and TCP", FamilyINet, newRule(pinhole(FamilyIPv4, "a")), []expr.MetaKey{expr.MetaKeyNFPROTO, expr.MetaKeyL4PROTO}},
		{"IPv6 and TCP", FamilyINet, newRule(firstSYN(), pinhole(FamilyIPv6, "a")), []expr.MetaKey{expr.MetaKeyL4PROTO, expr.MetaKeyNFPROTO}},
		{"in a table of IPv4", FamilyIPv4, newRule(pinhole(FamilyIPv4, "a")), []expr.MetaKey{expr.MetaKeyL4PROTO}},
		{"said by its own match", FamilyINet, newRule(nfproto(FamilyIPv6), hops(FamilyIPv6)), []expr.MetaKey{expr.MetaKeyNFPROTO}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []expr.MetaKey
			for _, e := range tt.rule.exprs(tt.f) {
				if m, ok := e.(*expr.Meta); ok {
					got = append(got, m.Key)
				}
			}
			if d := cmp.Diff(tt.metas, got); d != "" {
				t.Errorf("%s: loads of protocols (-want +got):\n%s", tt.rule, d)
			}
		})
	}
}

// TestChainsAreThere: whatever the configuration, no rule jumps to a chain or
// uses a set that the table lacks.
func TestChainsAreThere(t *testing.T) {
	for bits := range 1 << 9 {
		has := func(i int) bool { return bits>>i&1 != 0 }
		c := Config{Watch: has(0), Stale: has(1), Claim: has(2), Block: has(3), Bare: has(4), OneZone: has(5), Translate: has(6)}
		if has(7) {
			c.PeerPorts = PortRange{1, 2}
		}
		if has(8) {
			c.VirtualServers = virtualServers
		}
		tab := describe(c.WithDefaults())
		chains, sets, objects := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, ch := range tab.chains {
			if chains[ch.name] {
				t.Errorf("%+v: two chains %s", c, ch.name)
			}
			chains[ch.name] = true
		}
		for _, s := range tab.sets {
			sets[s.name] = true
		}
		for _, o := range tab.objects {
			objects[o.name] = true
		}
		entered := map[string]bool{}
		for _, ch := range tab.chains {
			for _, r := range ch.rules {
				for _, e := range r.exprs(FamilyINet) {
					switch e := e.(type) {
					case *expr.Verdict:
						if e.Chain != "" && !chains[e.Chain] {
							t.Errorf("%+v: %s: no chain %s", c, r, e.Chain)
						}
						entered[e.Chain] = true
					case *expr.Lookup:
						if !sets[e.SetName] {
							t.Errorf("%+v: %s: no set %s", c, r, e.SetName)
						}
					case *expr.Dynset:
						if !sets[e.SetName] {
							t.Errorf("%+v: %s: no set %s", c, r, e.SetName)
						}
					case *expr.Objref:
						if !objects[e.Name] {
							t.Errorf("%+v: %s: no object %s", c, r, e.Name)
						}
					}
				}
			}
		}
		for _, ch := range tab.chains {
			if ch.hook == "" && !entered[ch.name] {
				t.Errorf("%+v: nothing goes to chain %s", c, ch.name)
			}
		}
	}
}

// TestQueueNumber: the queue of a rule is found in either form.
func TestQueueNumber(t *testing.T) {
	for _, kind := range []QueueKind{QueueNative, QueueXT} {
		for _, num := range []uint16{0, 2121, 65535} {
			for _, e := range queue(kind, num, true).exprs {
				data, err := marshal(FamilyINet, e)
				if err != nil {
					t.Fatal(err)
				}
				if got, ok := queueNumber(data); !ok || got != num {
					t.Errorf("%v: queue %d, %v, want %d", kind, got, ok, num)
				}
			}
		}
	}
	for _, c := range []clause{counter(), accept(), program(3)} {
		data, err := marshal(FamilyINet, c.exprs[0])
		if err != nil {
			t.Fatal(err)
		}
		if num, ok := queueNumber(data); ok {
			t.Errorf("%s is no queue, but has the number %d", c.text, num)
		}
	}
}
