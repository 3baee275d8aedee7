// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// kernel is what was found out by trying.
type kernel struct {
	where    string
	nft      rules.Features
	ct       expect.Features
	more     expect.Extensions
	forcedXT error // why the NFQUEUE target cannot be had; tried only if it is wanted
	zones    error // why a queued packet does not tell its conntrack zone

	err   error // there is no nftables to try anything with
	ctErr error // there is no connection tracker to speak to
}

// Where features are tried.
const (
	inOwn     = "a network namespace of their own"
	inPresent = "this network namespace, everything removed again (no right to make one of their own)"
)

// probe tries the kernel on a thread that is not given back: it ends with its
// goroutine, and the namespace with it.
func probe(cfg config.Config) kernel {
	done := make(chan kernel)
	go func() {
		runtime.LockOSThread()
		k := kernel{where: inOwn}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			k.where = inPresent
		}
		k.try(cfg)
		done <- k
	}()
	return <-done
}

func (k *kernel) try(cfg config.Config) {
	k.nft, k.err = rules.Probe()
	if cfg.Queue == config.QueueXT {
		k.forcedXT = rules.ProbeXTQueue()
	}
	k.zones = nfq.ProbeZones()
	if k.ct, k.ctErr = expect.Probe(); k.ctErr == nil {
		k.more, k.ctErr = expect.ProbeExtensions()
	}
}
