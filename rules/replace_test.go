// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	nfqueue "github.com/florianl/go-nfqueue/v2"

	"github.com/pasvport/pasvport/integration/stage"
)

// A waitingQueue is a queue that holds packets until the test releases them.
type waitingQueue struct {
	nf  *nfqueue.Nfqueue
	ids chan uint32
}

func bindQueue(t *testing.T, n stage.Namespace) *waitingQueue {
	t.Helper()
	nf, err := nfqueue.Open(&nfqueue.Config{NetNS: n.FD, NfQueue: defaultQueueNum, MaxPacketLen: 0xffff, MaxQueueLen: 99, Copymode: nfqueue.NfQnlCopyPacket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nf.Close() })
	q := &waitingQueue{nf, make(chan uint32, 99)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	err = nf.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
		q.ids <- *a.PacketID
		return 0
	}, func(error) int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// queueLength is how many packets wait in the queue of n, and queued how many
// arrived there: the client retransmits them.
func queueLength(t *testing.T, n stage.Namespace) (waiting, queued string) {
	t.Helper()
	f := strings.Fields(n.Run(t, "cat", "/proc/net/netfilter/nfnetlink_queue"))
	return f[2], f[7]
}

// TestTrafficReplace: a packet that waits in a queue still waits after our rules
// were replaced, for whatever reason and with whatever chains, and after the
// kernel was probed.
func TestTrafficReplace(t *testing.T) {
	for _, carrier := range []Carrier{CarrierSane, CarrierBare} {
		t.Run(carrier.String(), func(t *testing.T) { testReplace(t, carrier) })
	}
}

func testReplace(t *testing.T, carrier Carrier) {
	n := newTopology(t)
	n.router.Load(t, adminRuleset)
	q := bindQueue(t, n.router)
	config := Config{Carrier: carrier, Claim: true, Queue: testQueue(t, n.router), Chains: []ChainRef{forward}}
	f := installed(t, n.router, config)
	client, server := connect(t, n.client, listen(t, n.server, serverV4, 21))
	if _, err := io.WriteString(client, "NOOP\r\n"); err != nil {
		t.Fatal(err)
	}
	var id uint32
	select {
	case id = <-q.ids:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is queued")
	}
	more := config
	more.Ports = []PortRange{{21, 21}, {2121, 2121}}
	more.Stale, more.Bare, more.Translate = true, true, true
	steps := []struct {
		name string
		do   func() error
	}{
		{"another daemon with another configuration", func() error { f = open(t, n.router, more); return f.Install() }},
		{"the same again", func() error { return f.Install() }},
		{"other control ports", func() error {
			c := more
			c.Ports = []PortRange{{21, 22}}
			return f.Reconfigure(c)
		}},
		{"rules that were flushed are put back", func() error {
			n.router.Run(t, "nft", "flush chain inet pasvport session")
			h, err := f.Heal()
			if len(h.Missing) == 0 {
				t.Error("nothing was missing")
			}
			return err
		}},
		{"the kernel is tried", func() error {
			features, err := probe(n.router.FD)
			if !features.SaneIPv4 || !features.SaneIPv6 {
				t.Errorf("found %+v", features)
			}
			return err
		}},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		// What is deleted is destroyed a moment later; the kernel makes us wait
		// for it.
		again := open(t, n.router, config)
		again.conn.nl.Close()
		if waiting, queued := queueLength(t, n.router); waiting != queued {
			t.Errorf("%s: %s packets wait of %s", s.name, waiting, queued)
		}
	}
	if err := q.nf.SetVerdict(id, nfqueue.NfAccept); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "NOOP\r\n" {
		t.Errorf("received %q, %v", got, err)
	}
}
