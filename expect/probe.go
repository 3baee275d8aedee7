// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Feature is the result of probing one kernel feature.
type Feature struct {
	OK  bool
	Err error // why not
}

func feature(err error) Feature { return Feature{OK: err == nil, Err: err} }

// Features are the features of the kernel's conntrack that a gateway needs, in
// this network namespace. The zero value has none.
type Features struct {
	// Conntrack: entries can be created, found and deleted.
	// Needs nf_conntrack_netlink and CAP_NET_ADMIN.
	Conntrack Feature

	// Sane4 and Sane6: a connection with the helper sane accepts an expectation
	// with nat-follow-master and its timeout. Needs nf_conntrack_sane and nf_nat.
	Sane4, Sane6 Feature

	// Bare: a connection without a helper accepts an expectation. No kernel known
	// to us does; EOPNOTSUPP is the expected answer.
	Bare Feature

	// Claim4 and Claim6: an entry can be created with a master and both
	// translations. Needs nf_nat.
	Claim4, Claim6 Feature
}

// probeTimeout limits the life of an entry that a crash leaves behind.
const probeTimeout = 5 * time.Second

// Probe tries each feature with entries between documentation addresses (RFC
// 5737, RFC 3849), which it removes again. The error means that there is no
// conntrack at all.
func Probe() (Features, error) {
	c, err := Dial()
	if err != nil {
		return Features{}, err
	}
	defer c.Close()
	var f Features
	v4, v6 := newTrial("192.0.2.1", "198.51.100.1"), newTrial("2001:db8:ffff::1", "2001:db8:ffff::2")
	f.Conntrack = feature(v4.lookUp(c))
	if !f.Conntrack.OK {
		return f, f.Conntrack.Err
	}
	// Claims first: an entry with a translation loads nf_nat, which an
	// expectation with nat-follow-master only uses if it is there.
	f.Claim4, f.Claim6 = feature(v4.claim(c)), feature(v6.claim(c))
	f.Sane4, f.Sane6 = feature(v4.expect(c, "sane")), feature(v6.expect(c, "sane"))
	f.Bare = feature(v4.expect(c, ""))
	return f, nil
}

// trial is a pair of fictitious hosts, with a control and a data connection.
type trial struct {
	client, server netip.Addr
	port           uint16 // of the client
	control, data  Tuple
}

// newTrial derives ports from the process id, so that two daemons that probe at
// once do not collide.
func newTrial(client, server string) trial {
	return trial{client: netip.MustParseAddr(client), server: netip.MustParseAddr(server), port: uint16(1024 + os.Getpid()%60000)}
}

// renew takes ports that no earlier trial of this process had: conntrackd may bring an
// entry back that was deleted.
func (t *trial) renew() {
	t.control = Tuple{Src: netip.AddrPortFrom(t.client, t.port), Dst: netip.AddrPortFrom(t.server, 21)}
	t.data = Tuple{Src: netip.AddrPortFrom(t.client, t.port+1), Dst: netip.AddrPortFrom(t.server, t.port+2)}
	t.port += 3
}

// trialTries is how many entries of others may be in the way of a trial.
const trialTries = 8

// withControl runs f while the control connection's entry exists.
func (t *trial) withControl(c *Conn, helper string, f func() error) error {
	for left := trialTries; ; left-- {
		t.renew()
		c.begin(ctNew, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, t.control.family())
		c.out = appendTrial(c.out, t.control, helper)
		err := c.execute()
		if err == nil {
			break
		}
		if left == 0 || !errors.Is(err, unix.EEXIST) {
			return opError("create entry with helper "+helper, t.control, err)
		}
	}
	err := f()
	if e := c.Delete(t.control); err == nil {
		err = e
	}
	return err
}

// appendTrial completes a request that creates an entry with a helper, which
// ctnetlink accepts at creation only.
func appendTrial(dst []byte, original Tuple, helper string) []byte {
	dst = appendTuple(dst, ctaTupleOrig, original)
	dst = appendTuple(dst, ctaTupleReply, original.Reverse())
	dst = appendAttr32(dst, ctaTimeout, seconds(probeTimeout))
	if helper != "" {
		var at int
		dst, at = beginNested(dst, ctaHelp)
		dst = appendAttrString(dst, ctaHelpName, helper)
		dst = endNested(dst, at)
	}
	return endRequest(dst, 0)
}

func (t *trial) lookUp(c *Conn) error {
	return t.withControl(c, "", func() error {
		_, err := c.Get(t.control.Reverse())
		return err
	})
}

func (t *trial) expect(c *Conn, helper string) error {
	return t.withControl(c, helper, func() error {
		x := Expectation{
			Master: t.control, Source: t.client, Dest: t.data.Dst,
			NAT: true, Direction: Original, ToAddr: t.server, ToPort: t.data.Dst.Port(),
			Timeout: probeTimeout,
		}
		if err := c.CreateExpectation(x); err != nil {
			return err
		}
		return c.DeleteExpectation(t.control, x.Tuple())
	})
}

func (t *trial) claim(c *Conn) error {
	return t.withControl(c, "", func() error {
		err := c.Claim(Claim{
			Original: t.data, Master: t.control,
			DNAT: t.data.Dst, SNAT: t.data.Src, Timeout: probeTimeout,
		})
		if err != nil {
			return err
		}
		return c.Delete(t.data)
	})
}
