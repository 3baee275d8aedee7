// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/nfq"
)

// verdicts gives the verdicts on a queue's packets, and reports those that
// failed. The kernel drops a packet when its queue is gone; nothing else can be
// done about it.
type verdicts struct {
	queue   queue
	log     *slog.Logger
	changed *changed
}

func newVerdicts(q queue, log *slog.Logger) *verdicts { return &verdicts{q, log, newChanged()} }

func (v *verdicts) given(err error) {
	if err != nil && !errors.Is(err, unix.ENOENT) {
		v.log.Warn("verdict failed", "err", err)
	}
}

// accept lets a packet pass as it is.
func (v *verdicts) accept(id uint32) { v.given(v.queue.Accept(id)) }

// acceptLater lets a packet pass with those that came with it.
func (v *verdicts) acceptLater(id uint32) { v.given(v.queue.AcceptLater(id)) }

// refuse makes a rule of ours answer a packet with a TCP reset: the rule
// recognises the packet by its time to live when it traverses its chain once
// more. A packet that is queued again has met no such rule.
func (v *verdicts) refuse(p *nfq.Packet) {
	if p.Expired() && p.Hook != nfq.HookOutput {
		v.drop(p.ID)
		return
	}
	b, err := nfq.AppendExpired(nil, p)
	if err != nil {
		v.drop(p.ID)
		return
	}
	v.given(v.queue.RepeatData(p.ID, b))
}

// renew lets a packet of this host pass and restores its time to live, which a
// rule of ours cleared.
func (v *verdicts) renew(p *nfq.Packet) {
	nfq.Renew(p)
	b, err := nfq.AppendSpliced(nil, p, p.Payload)
	if err != nil {
		v.drop(p.ID)
		return
	}
	v.acceptData(p.ID, b)
}

// acceptData lets another packet pass in place of one.
func (v *verdicts) acceptData(id uint32, data []byte) { v.given(v.queue.AcceptData(id, data)) }

// drop drops a packet; its sender retransmits it.
func (v *verdicts) drop(id uint32) { v.given(v.queue.Drop(id)) }

// flush forwards packets that were accepted with those that came with them,
// before the kernel is asked for something that takes longer.
func (v *verdicts) flush() { v.given(v.queue.Flush()) }
