// SPDX-License-Identifier: Apache-2.0

package gateway

import "github.com/pasvport/pasvport/nfq"

// claim handles the SYN of a data connection, seen before conntrack: it makes
// the conntrack entry that the SYN then finds. Whatever happens the SYN is
// forwarded; without an entry of ours it is nothing special to the
// administrator's rules.
func (w *worker) claim(p *nfq.Packet) {
	if !w.g.pinholes.Claim(w.ct, p.Src, p.Dst, w.g.settings().Control()) {
		w.claimInRange(p)
	}
	w.verdict(w.queue.Accept(p.ID))
}
