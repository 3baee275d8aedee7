// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Message types: subsystem in the upper byte, enum cntl_msg_types in the
// lower (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctNew    = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
)

// Get looks up the entry of the TCP connection that has t as either of its
// tuples. For a packet seen before destination NAT, t is simply the packet's own
// addresses, in both directions and under any NAT. The error is ENOENT if there
// is no entry, for instance for a SYN that was not accepted yet.
func (c *Conn) Get(t Tuple) (Entry, error) {
	var e Entry
	if !t.valid() {
		return e, opError("get", t, errTuple)
	}
	c.beginIn(ctGet, 0, t)
	c.appendGet(t)
	err := c.send()
	if err == nil {
		err = c.entry(c.seq, &e)
	}
	return e, opError("get", t, err)
}

// appendGet completes a GET. The tuple is sent as CTA_TUPLE_ORIG whatever its
// direction: the kernel's hash holds both tuples of an entry, and
// ctnetlink_get_conntrack does not ask which one it found.
func (c *Conn) appendGet(t Tuple) {
	c.out = appendTuple(c.out, ctaTupleOrig, t)
	c.out = endRequest(c.out, 0)
}

// entry reads the answer to a GET, which is one message: the entry or an error.
// The GET requests no acknowledgement, which saves a read.
func (c *Conn) entry(seq uint32, e *Entry) error {
	m, err := c.next(seq)
	if err != nil {
		return err
	}
	if m.typ == unix.NLMSG_ERROR {
		if err := m.errno(); err != nil {
			return err
		}
		return errMalformed
	}
	_, err = parseEntry(e, m.attrs())
	return err
}

// UpdateMark replaces the bits of the entry's mark that are set in mask by those
// of mark. The error is ENOENT if the entry is gone.
func (c *Conn) UpdateMark(original Tuple, mark, mask uint32) error {
	if !original.valid() {
		return opError("update mark", original, errTuple)
	}
	c.beginIn(ctNew, unix.NLM_F_ACK, original)
	c.out = appendTuple(c.out, ctaTupleOrig, original)
	// ctnetlink_change_mark clears the bits of the mask and then uses XOR.
	c.out = appendAttr32(c.out, ctaMark, mark&mask)
	c.out = appendAttr32(c.out, ctaMarkMask, mask)
	c.out = endRequest(c.out, 0)
	return opError("update mark", original, c.execute())
}

// UpdateTimeout sets the time that the entry lives without a packet, rounded up
// to seconds. The next packet sets the timeout of the connection's TCP state
// again. The error is ENOENT if the entry is gone.
func (c *Conn) UpdateTimeout(original Tuple, d time.Duration) error {
	if !original.valid() {
		return opError("update timeout", original, errTuple)
	}
	c.beginIn(ctNew, unix.NLM_F_ACK, original)
	c.out = appendTuple(c.out, ctaTupleOrig, original)
	c.out = appendAttr32(c.out, ctaTimeout, seconds(d))
	c.out = endRequest(c.out, 0)
	return opError("update timeout", original, c.execute())
}

// seconds rounds up, so that a positive time never becomes zero.
func seconds(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	s := (d-1)/time.Second + 1
	return uint32(min(s, math.MaxInt32))
}

// Delete removes the entry and with it its expectations. Its children stay. The
// error is ENOENT if it is already gone.
func (c *Conn) Delete(original Tuple) error {
	// A delete without a tuple would flush all entries.
	if !original.valid() {
		return opError("delete", original, errTuple)
	}
	c.beginIn(ctDelete, unix.NLM_F_ACK, original)
	c.out = appendTuple(c.out, ctaTupleOrig, original)
	c.out = endRequest(c.out, 0)
	return opError("delete", original, c.execute())
}

// A PortRange is an inclusive range of TCP ports.
type PortRange struct{ Low, High uint16 }

// manyPorts is the number of single ports up to which DumpTo sends one request
// per port. Walking the table takes the kernel a tenth of the time that it takes
// to report the whole table.
const manyPorts = 4

// DumpTo calls f for each TCP entry that was not expected and whose original
// direction goes to one of ports. The kernel filters if there are few ports
// (since 5.8). The entry is valid until f returns; f must not use c. An entry may
// be missed or reported twice if the table changes meanwhile.
func (c *Conn) DumpTo(ports []PortRange, f func(*Entry)) error {
	few := len(ports) <= manyPorts
	for _, r := range ports {
		few = few && r.Low == r.High
	}
	if !few {
		return c.dumpTo(ports, unix.AF_UNSPEC, f)
	}
	for i := range ports {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if err := c.dumpTo(ports[i:i+1], family, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// dumpTo requests the entries of one family to one port, which the kernel does
// not filter without the family; AF_UNSPEC requests all entries.
func (c *Conn) dumpTo(ports []PortRange, family uint8, f func(*Entry)) error {
	c.begin(ctGet, unix.NLM_F_DUMP, family)
	if family != unix.AF_UNSPEC {
		c.out = appendPortFilter(c.out, ports[0].Low)
	}
	return c.dumpTCP(func(e *Entry) {
		if e.Status&StatusExpected == 0 && Includes(ports, e.Original.Dst.Port()) {
			f(e)
		}
	})
}

// Includes reports whether a port is in one of the ranges.
func Includes(ports []PortRange, port uint16) bool {
	return slices.ContainsFunc(ports, func(r PortRange) bool { return r.Low <= port && port <= r.High })
}

// DumpExpected calls f for each TCP entry that was expected, in the same way. The
// kernel filters since 5.18.
func (c *Conn) DumpExpected(f func(*Entry)) error {
	c.begin(ctGet, unix.NLM_F_DUMP, unix.AF_UNSPEC)
	c.out = appendAttr32(c.out, ctaStatus, uint32(StatusExpected))
	c.out = appendAttr32(c.out, ctaStatusMask, uint32(StatusExpected))
	return c.dumpTCP(func(e *Entry) {
		if e.Status&StatusExpected != 0 {
			f(e)
		}
	})
}

// Attributes of a filter: enum ctattr_filter, and the bits of its flags, which
// are internal to ctnetlink but part of its interface (CTA_FILTER_F_CTA_PROTO_NUM
// and so on in net/netfilter/nf_conntrack_netlink.c).
const (
	ctaFilter     = 25
	ctaStatusMask = 26

	ctaFilterOrigFlags = 1

	filterProtoNum     = 1 << 3
	filterProtoDstPort = 1 << 5
)

// appendPortFilter appends a filter for TCP entries to a port.
func appendPortFilter(dst []byte, port uint16) []byte {
	dst, filter := beginNested(dst, ctaFilter)
	dst = appendNative32(dst, ctaFilterOrigFlags, filterProtoNum|filterProtoDstPort)
	dst = endNested(dst, filter)
	dst, tuple := beginNested(dst, ctaTupleOrig)
	dst, proto := beginNested(dst, ctaTupleProto)
	dst = appendAttr8(dst, ctaProtoNum, unix.IPPROTO_TCP)
	dst = appendAttr16(dst, ctaProtoDstPort, port)
	return endNested(endNested(dst, proto), tuple)
}

// dumpTCP completes a request and calls f for each TCP entry of the answer.
func (c *Conn) dumpTCP(f func(*Entry)) error {
	c.out = endRequest(c.out, 0)
	var e Entry
	err := c.dump(func(b []byte) error {
		tcp, err := parseEntry(&e, b)
		if err == nil && tcp {
			f(&e)
		}
		return err
	})
	return opError("dump", Tuple{}, err)
}

// dump sends the request and calls f with the attributes of each message of
// the answer. It reads to the end even if f fails.
func (c *Conn) dump(f func([]byte) error) error {
	if err := c.send(); err != nil {
		return err
	}
	var first error
	for {
		m, err := c.next(c.seq)
		if err != nil {
			return err
		}
		switch m.typ {
		case unix.NLMSG_DONE:
			return first
		case unix.NLMSG_ERROR:
			return m.errno()
		}
		if err := f(m.attrs()); err != nil && first == nil {
			first = err
		}
	}
}
