// SPDX-License-Identifier: Apache-2.0

package nfq_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"github.com/pasvport/pasvport/nfq"
)

// upperCase is a handler that writes the verbs of FTP commands in upper case. It
// answers each packet at once, and so has no deadline.
type upperCase struct {
	queue  *nfq.Queue
	packet []byte // reused
}

func (h *upperCase) Packet(p *nfq.Packet) {
	verb, _, _ := bytes.Cut(p.Payload, []byte(" "))
	if bytes.Equal(verb, bytes.ToUpper(verb)) {
		h.done(h.queue.AcceptLater(p.ID)) // nothing depends on it: with the next ones
		return
	}
	payload := bytes.Replace(p.Payload, verb, bytes.ToUpper(verb), 1)
	packet, err := nfq.AppendSpliced(h.packet[:0], p, payload)
	if err != nil {
		h.done(h.queue.Drop(p.ID)) // its sender retransmits it
		return
	}
	h.packet = packet
	h.done(h.queue.AcceptData(p.ID, packet))
}

func (h *upperCase) Deadline() time.Time { return time.Time{} }
func (h *upperCase) Wake(time.Time)      {}

func (h *upperCase) done(err error) {
	if err != nil {
		log.Print(err)
	}
}

// A rule fills a queue, for instance
//
//	nft add rule inet filter forward tcp dport 21 @ih,0,8 != 0 queue to 7
//
// and the program serves it until it is told to stop.
func ExampleHandler() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	q, err := nfq.Open(nfq.Config{Num: 7, FailOpen: true})
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()
	if err := q.Run(ctx, &upperCase{queue: q}); err != nil {
		log.Print(err)
	}
}

// A packet with another payload has new lengths and checksums, and is otherwise
// the same.
func ExampleAppendSpliced() {
	segment := nfq.AppendSegment(nil, &nfq.Segment{
		Src: netip.MustParseAddrPort("192.0.2.1:40000"), Dst: netip.MustParseAddrPort("198.51.100.1:21"),
		Seq: 1000, Ack: 2000, Flags: nfq.FlagACK | nfq.FlagPSH,
	})
	var p, changed nfq.Packet
	if err := nfq.ParsePacket(&p, segment); err != nil {
		log.Fatal(err)
	}
	packet, err := nfq.AppendSpliced(nil, &p, []byte("NOOP\r\n"))
	if err != nil {
		log.Fatal(err)
	}
	if err := nfq.ParsePacket(&changed, packet); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v > %v seq %d: %d bytes, %q\n", changed.Src, changed.Dst, changed.Seq, len(packet), changed.Payload)
	// Output: 192.0.2.1:40000 > 198.51.100.1:21 seq 1000: 46 bytes, "NOOP\r\n"
}
