// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"testing"
)

// TestPairMasquerade: masqueraded sessions survive a crash, and the return of the machine:
// the kernel forgets them only when it removes the address itself, and those that
// conntrackd has entered not even then. A planned move does that to the machine's own, and
// conntrackd to the other's: so it is not in TestPair.
func TestPairMasquerade(t *testing.T) {
	needDaemon(t)
	crash := slices.IndexFunc(pairFailovers, func(f pairFailover) bool { return f.name == "crash" })
	for i, s := range []Subject{Expectation, Claim} {
		setUp := pairSetup{position: position("masquerade"), family: IPv4, subject: s, allow: AllowRelated,
			conf: pairConfs[i], flags: pairKinds[0], failover: pairFailovers[crash]}
		t.Run(setUp.String(), func(t *testing.T) {
			t.Parallel()
			setUp.run(t)
		})
	}
}
