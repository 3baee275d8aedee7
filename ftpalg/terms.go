// SPDX-License-Identifier: Apache-2.0

package ftpalg

// terms are what applies to a connection: between whom it is, and what the
// administrator allows there. The client may end the role of a translator.
type terms struct {
	ep     Endpoints
	policy *Policy
	checks Checks
	judges bool // the policy may make a command fail, or needs to see all of them
	nat64  role64
}

func newTerms(ep Endpoints, p *Policy) terms {
	return terms{ep: ep, policy: p, checks: p.checks(), judges: p.denies()}
}

// familyDenied reports whether data connections of the control connection's family
// are not permitted.
func (c *terms) familyDenied() bool {
	if c.ep.Client.Addr().Is4() {
		return c.policy.NoIPv4
	}
	return c.policy.NoIPv6
}
