// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/integration/stage"
)

// TestManyPorts: more control ports than one netlink message can hold.
func TestManyPorts(t *testing.T) {
	n := stage.New(t)
	c := Config{Queue: testQueue(t, n)}
	const ports = 4000
	for i := range uint16(ports) {
		c.Ports = append(c.Ports, PortRange{2*i + 1, 2*i + 1})
	}
	c.NetNS = n.FD
	f, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan error, 1)
	go func() { done <- f.Install() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Install does not return")
	}
	if got := strings.Count(n.Run(t, "nft", "list", "set", "inet", "pasvport", "control_ports"), ","); got != ports-1 {
		t.Errorf("%d ports, want %d", got+1, ports)
	}
	for range 3 {
		if h, err := f.Heal(); err != nil || len(h.Missing) > 0 {
			t.Fatalf("healing %+v, %v, want nothing missing", h, err)
		}
	}
	n.Run(t, "nft", "delete", "element", "inet", "pasvport", "control_ports", "{ 7999 }")
	if h, err := f.Heal(); err != nil || len(h.Missing) != 1 {
		t.Errorf("healing %+v, %v, want the set of control ports", h, err)
	}
}

// TestLargeMessageFails: the kernel's answer to a message is read, however large
// that message was.
func TestLargeMessageFails(t *testing.T) {
	n := stage.New(t)
	c, err := dial(n.FD)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	done := make(chan error, 1)
	go func() {
		done <- c.request(unix.NFT_MSG_GETTABLE, 0, FamilyINet, make([]byte, 1<<20), func(Family, []byte) {})
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error for a meaningless message")
		}
	case <-time.After(time.Minute):
		t.Error("the kernel's answer is not seen")
	}
}
