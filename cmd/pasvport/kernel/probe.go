// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// Probe probes the kernel in the network namespace of the calling thread and
// removes again what it makes. xt also tries the NFQUEUE target if nft's own
// queue expression exists, which loads modules that nothing else may need.
//
// The error means that nothing can be probed: there is no nftables, or no
// conntrack netlink.
func Probe(xt bool) (Found, error) {
	f := Found{}
	if err := f.tryRules(xt); err != nil {
		return f, fmt.Errorf("nftables: %w (is the kernel built with CONFIG_NF_TABLES?)", err)
	}
	f[Zones] = nfq.ProbeZones()
	if err := f.tryConntrack(HasIPv6()); err != nil {
		return f, fmt.Errorf("conntrack netlink: %w (is the kernel built with CONFIG_NF_CT_NETLINK?)", err)
	}
	return f, nil
}

func (f Found) tryRules(xt bool) error {
	nft, err := rules.Probe()
	if err != nil {
		return err
	}
	for field, name := range map[string]Feature{
		"NativeQueue": QueueNative, "Bare": CarrierBare, "InnerHeader": InnerHeader, "Hash": Hash, "MaxSegment": MSS,
	} {
		f[name] = nft.Missing[field]
	}
	// The table holds an object for each family, so one alone is no help.
	f[CarrierSane] = cmp.Or(nft.Missing["SaneIPv4"], nft.Missing["SaneIPv6"])
	switch {
	case xt:
		f[QueueXT] = rules.ProbeXTQueue()
	case !nft.NativeQueue:
		f[QueueXT] = nft.Missing["XTQueue"]
	}
	return nil
}

func (f Found) tryConntrack(ipv6 bool) error {
	ct, err := expect.Probe()
	if err != nil {
		return err
	}
	f[Expectation], f[Claim] = ct.Sane4.Err, ct.Claim4.Err
	if ipv6 {
		f[ExpectationIPv6], f[ClaimIPv6] = ct.Sane6.Err, ct.Claim6.Err
	}
	return nil
}

// HasIPv6 reports whether this kernel has IPv6. With ipv6.disable=1 it does not,
// although nftables and conntrack still accept IPv6 rules and entries.
func HasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return !errors.Is(err, unix.EAFNOSUPPORT)
	}
	unix.Close(fd)
	return true
}

// Where ProbeApart has probed.
const (
	inOwn     = "a network namespace of their own"
	inPresent = "this network namespace, everything removed again (no capability to make one of their own)"
)

// ProbeApart probes what Probe does and more, in a network namespace of its own
// if it may make one, and returns where. The thread that enters the namespace
// ends with its goroutine, and the namespace with it.
func ProbeApart(xt bool) (f Found, where string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		where = inOwn
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			where = inPresent
		}
		if f, err = Probe(xt); err != nil {
			return
		}
		var more expect.Extensions
		if more, err = expect.ProbeExtensions(); err == nil {
			f[SeqAdj], f[Mark] = more.SeqAdj.Err, more.Mark.Err
		}
	}()
	<-done
	return f, where, err
}
