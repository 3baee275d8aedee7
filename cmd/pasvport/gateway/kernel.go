// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// The interfaces below are what the gateway needs of the kernel once it is open:
// tests use a fake kernel that needs no privilege.

// conntrack is connection tracking. Each belongs to one goroutine. *expect.Conn
// implements it.
type conntrack interface {
	pinhole.Conntrack
	SetSeqAdj(original expect.Tuple, d expect.Direction, adj expect.SeqAdj) (id uint32, err error)
	SetLiberal(original expect.Tuple) error
	UpdateTimeout(original expect.Tuple, d time.Duration) error
	Restore(expect.Forgotten) error
	DumpTo(ports []expect.PortRange, f func(*expect.Entry)) error
	DumpExpected(f func(*expect.Entry)) error
	CountExpectations() (int, error)
	Close()
}

// dial returns a connection to conntrack.
func dial() (conntrack, error) {
	ct, err := expect.Dial()
	if err != nil {
		return nil, fmt.Errorf("conntrack netlink: %w", err)
	}
	return ct, nil
}

// firewall is nftables with our table, as far as sessions change it.
// *rules.Firewall implements it.
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

// ruleset is our table as a whole. *rules.Firewall implements it.
type ruleset interface {
	Install() error
	RemoveLeftovers() ([]string, error)
	Reconfigure(rules.Config) error
	Watch(context.Context, func(rules.Healing, error)) error
	Spread(rules.VirtualServer) error
	Parked(rules.VirtualServer) ([]rules.Parked, error)
	Remove() error
	Leave() error
	Close()
}

// directions are the permitted directions of data connections. rules.Directions
// implements it.
type directions interface {
	pinhole.Directions
	All() (map[uint32]rules.Way, error)
	Ended() ([]uint32, error)
}

// events are conntrack's events. *expect.Events implements it.
type events interface {
	SetPorts([]expect.PortRange) error
	Run(context.Context, func(*expect.Event)) error
	Sync(within time.Duration) bool
	Drain(func(*expect.Event)) error
	Close() error
}

// queue delivers packets and takes verdicts. *nfq.Queue implements it.
type queue interface {
	Num() uint16
	Run(context.Context, nfq.Handler) error
	Stats() nfq.Stats
	Detach() (fd int, err error)
	Close() error
	Accept(id uint32) error
	AcceptLater(id uint32) error
	AcceptData(id uint32, data []byte) error
	RepeatData(id uint32, data []byte) error
	Drop(id uint32) error
	Flush() error
	Interrupt()
	Mark() uint32
	Marked() uint32
}

// expectations returns how many expectations the kernel has and how many it has
// room for, 0 if unknown.
func expectations(dial func() (conntrack, error)) (n, most int) {
	ct, err := dial()
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
