// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/integration/stage"
)

// testPinhole is a pinhole whose two halves differ, as under NAT. Even ones
// are IPv4.
func testPinhole(i int) Pinhole {
	src, dst, in := "192.0.2.1", "198.51.100.1", "10.0.0.7"
	if i%2 == 1 {
		src, dst, in = "2001:db8::1", "2001:db8::2", "fd00::7"
	}
	p := Pinhole{Source: netip.MustParseAddr(src), Dest: netip.AddrPortFrom(netip.MustParseAddr(dst), uint16(50000+i))}
	p.Forward.Src, p.Forward.Dst = p.Source, netip.AddrPortFrom(netip.MustParseAddr(in), uint16(40000+i))
	return p
}

// elements are the open pinholes in one line each, without times.
func elements(t *testing.T, f *Firewall) []string {
	t.Helper()
	es, err := f.Elements()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		out = append(out, strings.Join([]string{e.Family.String(), e.Table, e.Set, e.Source.String(), e.Dest.String()}, " "))
	}
	slices.Sort(out)
	return out
}

func TestPinholes(t *testing.T) {
	claim4 := "inet pasvport pinholes4 192.0.2.1 198.51.100.1:50000"
	claim6 := "inet pasvport pinholes6 2001:db8::1 [2001:db8::2]:50001"
	chain4 := "inet filter pasvport4 192.0.2.1 10.0.0.7:40000"
	chain6 := "inet filter pasvport6 2001:db8::1 [fd00::7]:40001"
	only6 := "ip6 six pasvport6 2001:db8::1 [fd00::7]:40001"
	tests := []struct {
		name string
		c    Config
		want []string
	}{
		{"nothing", Config{}, nil},
		{"claim", Config{Claim: true}, []string{claim4, claim6}},
		{"chain", Config{Chains: []ChainRef{forward}}, []string{chain4, chain6}},
		{"both", Config{Claim: true, Chains: []ChainRef{forward, {FamilyINet, "filter", "input"}, {FamilyIPv6, "six", "pass"}}},
			[]string{chain4, chain6, claim4, claim6, only6}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := stage.New(t)
			n.Load(t, adminRuleset)
			tt.c.Queue = testQueue(t, n)
			f := installed(t, n, tt.c)
			for i := range 2 {
				if err := f.OpenPinhole(testPinhole(i)); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(tt.want, elements(t, f)); d != "" {
				t.Errorf("open (-want +got):\n%s", d)
			}
			for i := range 3 { // the last was never open
				if err := f.ClosePinhole(testPinhole(i)); err != nil {
					t.Fatal(err)
				}
			}
			if got := elements(t, f); got != nil {
				t.Errorf("closed, and still there: %q", got)
			}
		})
	}
}

// An IPv4-mapped address is the same as the IPv4 address.
func TestPinholeMappedAddress(t *testing.T) {
	n := stage.New(t)
	f := installed(t, n, Config{Claim: true, Queue: testQueue(t, n)})
	p := testPinhole(0)
	p.Source = netip.AddrFrom16(p.Source.As16())
	if err := f.OpenPinhole(p); err != nil {
		t.Fatal(err)
	}
	want := []string{"inet pasvport pinholes4 192.0.2.1 198.51.100.1:50000"}
	if d := cmp.Diff(want, elements(t, f)); d != "" {
		t.Errorf("open (-want +got):\n%s", d)
	}
}

func TestPinholeTimeouts(t *testing.T) {
	n := stage.New(t)
	f := installed(t, n, Config{Claim: true, Queue: testQueue(t, n), PinholeTimeout: 100 * time.Second})
	left := func() time.Duration {
		t.Helper()
		es, err := f.Elements()
		if err != nil || len(es) != 1 {
			t.Fatalf("elements: %v, %v", es, err)
		}
		return es[0].Expires
	}
	p := testPinhole(0)
	for _, tt := range []struct{ timeout, atLeast, atMost time.Duration }{
		{0, 90 * time.Second, 100 * time.Second},
		{20 * time.Second, 10 * time.Second, 20 * time.Second}, // shorter
		{time.Hour, 59 * time.Minute, time.Hour},               // renewed
	} {
		p.Timeout = tt.timeout
		if err := f.OpenPinhole(p); err != nil {
			t.Fatal(err)
		}
		if got := left(); got < tt.atLeast || got > tt.atMost {
			t.Errorf("timeout %v: expires in %v", tt.timeout, got)
		}
	}
	p.Timeout = 20 * time.Millisecond
	if err := f.OpenPinhole(p); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(20 * time.Second); ; {
		if got := elements(t, f); got == nil {
			break
		} else if time.Now().After(until) {
			t.Fatalf("never expired: %q", got)
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Expired and perhaps not yet collected: still no error.
	if err := f.ClosePinhole(p); err != nil {
		t.Error(err)
	}
}

// A set that the administrator has deleted does not keep others from closing, and
// opening a pinhole restores it.
func TestPinholeWithoutSet(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	f := installed(t, n, Config{Claim: true, Queue: testQueue(t, n), Chains: []ChainRef{forward}})
	for _, p := range []Pinhole{testPinhole(0), testPinhole(2)} {
		if err := f.OpenPinhole(p); err != nil {
			t.Fatal(err)
		}
	}
	n.Run(t, "nft", "flush chain inet filter forward; delete set inet filter pasvport4")
	if err := f.ClosePinhole(testPinhole(0)); err != nil {
		t.Errorf("ClosePinhole: %v", err)
	}
	if err := f.OpenPinhole(testPinhole(4)); err != nil {
		t.Errorf("OpenPinhole: %v", err)
	}
	if got := elements(t, f); len(got) != 4 {
		t.Errorf("open: %q", got)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := f.OpenPinhole(testPinhole(0)); err == nil {
		t.Error("OpenPinhole after Remove: no error")
	}
}

// TestOpenPinholeAllocations: packets wait for OpenPinhole.
func TestOpenPinholeAllocations(t *testing.T) {
	n := stage.New(t)
	f := installed(t, n, Config{Claim: true, Queue: testQueue(t, n)})
	p := testPinhole(1)
	p.Timeout = time.Minute
	if got := testing.AllocsPerRun(50, func() {
		if err := f.OpenPinhole(p); err != nil {
			t.Fatal(err)
		}
	}); got > 8 {
		t.Errorf("OpenPinhole allocates %v times", got)
	}
}
