// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/pasvport/pasvport/integration/stage"
	"github.com/pasvport/pasvport/rules"
)

var forward = ChainRef{Family: FamilyINet, Table: "filter", Chain: "forward"}

// testQueue is the kind of queue this kernel has.
func testQueue(t testing.TB, n stage.Namespace) (kind rules.QueueKind) {
	t.Helper()
	n.In(t, func() error {
		f, err := rules.Probe()
		if err == nil && !f.NativeQueue {
			kind = rules.QueueXT
		}
		return err
	})
	return kind
}

// installed opens a Firewall in n until the end of the test, and installs.
func installed(t testing.TB, n stage.Namespace, c Config) *rules.Firewall {
	t.Helper()
	c.NetNS = n.FD
	f, err := rules.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Install(); err != nil {
		t.Fatal(err)
	}
	return f
}

func appendAttr(b []byte, typ uint16, v []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(v)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
func appendString(b []byte, typ uint16, s string) []byte {
	return appendAttr(b, typ, append([]byte(s), 0))
}
func appendUint16(b []byte, typ uint16, v uint16) []byte {
	return appendAttr(b, typ, binary.BigEndian.AppendUint16(nil, v))
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
