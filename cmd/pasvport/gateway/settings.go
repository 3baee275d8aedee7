// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"slices"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/outside"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// settings are those that can change while the daemon runs. A value never
// changes; a reload replaces it.
type settings struct {
	config.Config
	policy   ftpalg.Policy
	policies []ftpalg.Policy // of Config.Policies
}

func newSettings(cfg config.Config, book *outside.Book) *settings {
	s := &settings{Config: cfg, policy: cfg.Policy()}
	s.policy.Advertise = outsideOf(cfg.Advertise, book)
	for _, p := range cfg.Policies {
		own := p.Config.Policy()
		own.External = s.policy.External
		own.Advertise = outsideOf(p.Config.Advertise, book)
		s.policies = append(s.policies, own)
	}
	return s
}

// outsideOf maps addresses to those to announce for them, nil without any.
func outsideOf(list map[netip.Addr]config.Outside, book *outside.Book) ftpalg.Addresses {
	if len(list) == 0 {
		return nil
	}
	return book.Of(list)
}

// outsides are the settings of addresses to announce, for all sessions and in
// policies.
func (s *settings) outsides() (all []map[netip.Addr]config.Outside) {
	all = append(all, s.Advertise)
	for _, p := range s.Policies {
		all = append(all, p.Config.Advertise)
	}
	return all
}

// policyFor returns the policy of a control connection.
func (s *settings) policyFor(e *expect.Entry) *ftpalg.Policy {
	if i := s.match(e); i >= 0 {
		return &s.policies[i]
	}
	return &s.policy
}

// markFor returns the ct mark bits of a control connection's data connections.
func (s *settings) markFor(e *expect.Entry) uint32 {
	if i := s.match(e); i >= 0 {
		return s.Policies[i].Config.Mark
	}
	return s.Mark
}

// match returns the index of a control connection's policy, or -1.
func (s *settings) match(e *expect.Entry) int {
	return slices.IndexFunc(s.Policies, func(p config.Policy) bool {
		return p.Matches(e.Original.Dst.Port(), e.Original.Src.Addr(), e.Reply.Src.Addr())
	})
}
