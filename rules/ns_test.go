// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/pasvport/pasvport/integration/stage"
)

// testQueue is the kind of queue this kernel has.
func testQueue(t testing.TB, n stage.Namespace) QueueKind {
	t.Helper()
	f, err := probe(n.FD)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case f.NativeQueue:
		return QueueNative
	case f.XTQueue:
		return QueueXT
	}
	t.Skipf("kernel cannot queue: %v", f.Missing)
	return 0
}

// open opens a Firewall in n until the end of the test.
func open(t testing.TB, n stage.Namespace, c Config) *Firewall {
	t.Helper()
	c.NetNS = n.FD
	f, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// installed is open and Install.
func installed(t testing.TB, n stage.Namespace, c Config) *Firewall {
	t.Helper()
	f := open(t, n, c)
	if err := f.Install(); err != nil {
		t.Fatal(err)
	}
	return f
}
