// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"fmt"
	"net/netip"

	"github.com/pasvport/pasvport/ftpalg"
)

// Note is what the elements of a claim say of it, for the next daemon. The key
// is not in it.
func (p *Pinhole) Note() string {
	return fmt.Sprintf("%s to %s for %d nat %t port %d", p.Mode, p.Target, p.Owner.ID, p.NAT, p.Port)
}

// ParseNote reads what Note wrote, and returns the id of the owner with it.
func ParseNote(text string) (s Spec, owner uint32, ok bool) {
	var mode, target string
	if _, err := fmt.Sscanf(text, "%s to %s for %d nat %t port %d", &mode, &target, &owner, &s.NAT, &s.Port); err != nil {
		return s, 0, false
	}
	switch mode {
	case ftpalg.Passive.String():
		s.Mode = ftpalg.Passive
	case ftpalg.Active.String():
		s.Mode = ftpalg.Active
	default:
		return s, 0, false
	}
	to, err := netip.ParseAddrPort(target)
	s.Target = to
	return s, owner, err == nil
}
