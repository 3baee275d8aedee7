// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"maps"
)

// A Feature is something that a kernel may support, by its name in status.
type Feature string

// The features.
const (
	QueueNative     Feature = "queue-native"     // nft's queue expression
	QueueXT         Feature = "queue-xt"         // the NFQUEUE target of xtables
	CarrierSane     Feature = "carrier-sane"     // rules can give a connection the helper sane
	CarrierBare     Feature = "carrier-bare"     // rules can give a help extension without a helper
	InnerHeader     Feature = "inner-header"     // rules can look behind the TCP header
	Hash            Feature = "hash"             // rules can match after the TCP header
	MSS             Feature = "mss-clamp"        // rules can set the segment size
	Expectation     Feature = "expectation"      // an IPv4 connection with the helper sane takes an expectation
	ExpectationIPv6 Feature = "expectation-ipv6" // so does one of IPv6
	Claim           Feature = "claim"            // IPv4 entries can be created with a master and both translations
	ClaimIPv6       Feature = "claim-ipv6"       // so can IPv6 entries
	Zones           Feature = "zones"            // a queued packet comes with its conntrack zone
	FastPath        Feature = "fast-path"        // eBPF; set by whoever loads the filter

	// Only ProbeApart probes these.
	SeqAdj Feature = "sequence-adjustment" // the kernel adjusts sequence numbers
	Mark   Feature = "mark"                // a connection keeps a mark
)

// errUntried is the reason why a feature that was not probed cannot be relied on.
var errUntried = errors.New("not tried")

// Found is the result of probing the kernel: for each probed feature the reason
// why it is missing, or nil. A feature that is impossible on this host, such as
// one of IPv6 where IPv6 is off, has no entry.
type Found map[Feature]error

// Everything is the result of a kernel that lacks nothing.
func Everything() Found {
	return Found{QueueNative: nil, QueueXT: nil, CarrierSane: nil, CarrierBare: nil, InnerHeader: nil, Hash: nil, MSS: nil,
		Expectation: nil, ExpectationIPv6: nil, Claim: nil, ClaimIPv6: nil, Zones: nil, SeqAdj: nil, Mark: nil}
}

// Missing returns the reason for the first missing one of some features, nil if
// all are there.
func (f Found) Missing(features ...Feature) error {
	for _, name := range features {
		err, tried := f[name]
		if !tried {
			err = errUntried
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Has reports whether all of some features are there.
func (f Found) Has(features ...Feature) bool { return f.Missing(features...) == nil }

// With returns a copy of f that also knows about a feature.
func (f Found) With(name Feature, err error) Found {
	g := maps.Clone(f)
	g[name] = err
	return g
}

// Names returns the result by name, for status.
func (f Found) Names() map[string]bool {
	names := make(map[string]bool, len(f))
	for name, err := range f {
		names[string(name)] = err == nil
	}
	return names
}
