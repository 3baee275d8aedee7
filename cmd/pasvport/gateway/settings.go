// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// settings are those that can change while the daemon runs. A value never
// changes; a reload puts another in its place.
type settings struct {
	config.Config
	policy   ftpalg.Policy
	policies []ftpalg.Policy // of Config.Policies
}

func newSettings(cfg config.Config) *settings {
	s := &settings{Config: cfg, policy: cfg.Policy()}
	for _, p := range cfg.Policies {
		own := p.Config.Policy()
		own.External = s.policy.External
		s.policies = append(s.policies, own)
	}
	return s
}

// policyFor returns the policy of a control connection.
func (s *settings) policyFor(e *expect.Entry) *ftpalg.Policy {
	for i := range s.Policies {
		if s.Policies[i].Matches(e.Original.Dst.Port(), e.Original.Src.Addr(), e.Reply.Src.Addr()) {
			return &s.policies[i]
		}
	}
	return &s.policy
}
