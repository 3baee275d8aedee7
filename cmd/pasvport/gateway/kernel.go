// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// What the gateway needs of the kernel while packets come, in the four interfaces
// below: tests have a kernel of their own that needs no privilege.

// conntrack is connection tracking. One belongs to one goroutine. *expect.Conn is
// one.
type conntrack interface {
	pinhole.Conntrack
	SetSeqAdj(original expect.Tuple, d expect.Direction, adj expect.SeqAdj) error
	SetLiberal(original expect.Tuple) error
	UpdateTimeout(original expect.Tuple, d time.Duration) error
	Restore(expect.Forgotten) error
	DumpTo(ports []expect.PortRange, f func(*expect.Entry)) error
	DumpExpected(f func(*expect.Entry)) error
}

// firewall is nftables with our table. *rules.Firewall is one.
type firewall interface {
	pinhole.Firewall
	LeaveAlone(id uint32, note string) error
	TakeUp(id uint32) error
	LeftAlone() (map[uint32]string, error)
	Renumber(id uint32, note string) error
	Forget(id uint32) error
	Renumbered() (map[uint32]string, error)
	ShowAcks(id uint32) error
	AllowPeer(client, dialled netip.Addr) error
	ForgetPeer(client, dialled netip.Addr) error
	Elements() ([]rules.Element, error)
	Exists() (bool, error)
	Block(client netip.Addr, d time.Duration) error
	Unblock(client netip.Addr) (bool, error)
	Blocked() ([]rules.Blocked, error)
}

// events are what conntrack reports. *expect.Events is one.
type events interface {
	Sync(within time.Duration) bool
}

// queue takes verdicts. *nfq.Queue is one.
type queue interface {
	Accept(id uint32) error
	AcceptLater(id uint32) error
	AcceptData(id uint32, data []byte) error
	RepeatData(id uint32, data []byte) error
	Drop(id uint32) error
	Flush() error
	Interrupt()
}

// expectations returns how many expectations the kernel has and how many it has
// room for, 0 where that is not known.
func expectations() (n, most int) {
	ct, err := expect.Dial()
	if err != nil {
		return 0, 0
	}
	defer ct.Close()
	n, err = ct.CountExpectations()
	if err != nil {
		return 0, 0
	}
	return n, expect.MostExpectations()
}
