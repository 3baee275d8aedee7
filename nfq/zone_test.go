// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func TestParseZone(t *testing.T) {
	attr := func(typ uint16, data ...byte) []byte { return appendAttr(nil, typ, data...) }
	message := func(attrs ...[]byte) []byte {
		b := []byte{2, 0, 0, 77}
		for _, a := range attrs {
			b = append(b, a...)
		}
		return b
	}
	const other = 1
	zone := attr(ctaZone, 0x12, 0x34)
	for _, tc := range []struct {
		name string
		in   []byte
		want uint16
	}{
		{"nothing", nil, 0},
		{"no entry", message(attr(3, 0, 0, 0, 1)), 0},
		{"entry in the default zone", message(attr(nfqaCt, attr(other, 1, 2, 3)...)), 0},
		{"entry in a zone", message(attr(3, 0, 0, 0, 1), attr(nfqaCt, append(attr(other, 1, 2, 3), zone...)...)), 0x1234},
		{"nested flag", message(attr(nfqaCt|unix.NLA_F_NESTED, zone...)), 0x1234},
		{"zone outside of the entry", message(zone), 0},
		{"zone cut off", message(attr(nfqaCt, zone[:5]...)), 0},
		{"zone of one byte", message(attr(nfqaCt, attr(ctaZone, 1)...)), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := parseZone(tc.in); got != tc.want {
				t.Errorf("zone %#x, want %#x", got, tc.want)
			}
		})
	}
}

// TestKernelZones: packets come with their zones if the kernel can report them
// and was asked to; if it cannot, both the probe and Open report that.
func TestKernelZones(t *testing.T) {
	newNamespace(t)
	queueRules(t)
	setZone(t, 7)
	can := ProbeZones()
	if can != nil {
		t.Logf("this kernel cannot: %v", can)
		if _, err := Open(Config{Num: testQueue, Zones: true}); !errors.Is(can, unix.EOPNOTSUPP) || !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("probe: %v, open: %v; want EOPNOTSUPP of both", can, err)
		}
	}
	l := listen(t, "127.0.0.1")
	for _, asked := range []bool{false, true} {
		if asked && can != nil {
			break
		}
		q := openQueue(t, Config{Zones: asked})
		zones := make(chan uint16, 100)
		stop := startRun(t, q, funcHandler{packet: func(p *Packet) {
			zones <- p.Zone
			if err := q.Accept(p.ID); err != nil {
				t.Error(err)
			}
		}})
		client, server := connect(t, l)
		send(t, client, server, "one way", "one way")
		send(t, server, client, "and back", "and back")
		for range 2 {
			if z := <-zones; (z == 7) != asked {
				t.Errorf("zone %d, asked for: %v", z, asked)
			}
		}
		stop()
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// setZone puts everything that leaves this host in a zone:
//
//	table inet zone { chain out { type filter hook output priority raw; ct zone set 7; }}
func setZone(t testing.TB, zone uint16) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "zone"})
	chain := c.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint16(nil, zone)},
		&expr.Ct{Key: expr.CtKeyZONE, Register: 1, SourceRegister: true},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}
