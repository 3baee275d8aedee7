// SPDX-License-Identifier: Apache-2.0

package ftpalg_test

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/pasvport/pasvport/ftpalg"
)

// A client behind source NAT connects to a server, which sees 192.168.1.5 as
// 198.51.100.77. Each line is a segment of its own.
func Example() {
	client, server := netip.MustParseAddrPort("192.168.1.5:40000"), netip.MustParseAddrPort("203.0.113.9:21")
	c := ftpalg.NewConn(ftpalg.Endpoints{
		Client: client, Dialled: server, Server: server, SeenAs: netip.MustParseAddrPort("198.51.100.77:40000"),
	}, &ftpalg.Policy{}, ftpalg.Options{Started: true, AdjustBy: ftpalg.Kernel})

	next := [2]uint32{1000, 2000} // sequence numbers, by direction
	say := func(d ftpalg.Direction, line string) {
		segment := ftpalg.Segment{Time: time.Now(), Dir: d, Seq: next[d], Ack: next[1-d], Acks: true, Payload: []byte(line + "\r\n")}
		next[d] += uint32(len(segment.Payload))
		decision := c.Segment(&segment)
		for _, event := range decision.Events {
			switch event.Kind {
			case ftpalg.EventOffer:
				o := event.Offer
				fmt.Printf("open: %v to %v, which is %v\n", o.Source, o.Public, o.Target)
				if why := c.Announce(o, o.Public.Port()); why != ftpalg.ReasonPlain {
					fmt.Println("not announced:", why)
				}
			case ftpalg.EventRefused:
				fmt.Println("refused:", event.Reason)
			case ftpalg.EventCancelled:
				fmt.Println("close:", event.Reason)
			}
		}
		if decision.Action != ftpalg.Forward { // nothing is held here, as lines are whole
			return
		}
		r := c.Rewrite(nil, &segment)
		fmt.Printf("%-8v %s\n", d, strings.TrimSuffix(string(r.Data), "\r\n"))
		if r.Set {
			fmt.Printf("kernel: %+d behind byte %d\n", r.Adjust.After-r.Adjust.Before, r.Adjust.Pos)
		}
	}
	say(ftpalg.Reply, "220 ready")
	say(ftpalg.Original, "USER anonymous")
	say(ftpalg.Reply, "230 welcome")
	say(ftpalg.Original, "PORT 192,168,1,5,200,10")
	say(ftpalg.Reply, "500 what?")
	say(ftpalg.Original, "PORT 10,0,0,1,200,10")
	// Output:
	// reply    220 ready
	// original USER anonymous
	// reply    230 welcome
	// open: 203.0.113.9 to 198.51.100.77:51210, which is 192.168.1.5:51210
	// original PORT 198,51,100,77,200,10
	// kernel: +2 behind byte 1038
	// close: rejected-by-server
	// reply    500 what?
	// refused: foreign-address
	// original PORT 10,0,0,1,200,10
}
