// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/pasvport/pasvport/ftpalg"

// Reason says why something was done: one of the engine's reasons, by its number
// there, or one of those below, which the engine does not know.
type Reason uint8

// ReasonPlain: nothing is to be said.
const ReasonPlain = Reason(ftpalg.ReasonPlain)

const (
	// ReasonNoCarrier: the kernel cannot open this offer: the connection has no helper,
	// and claims are not in use.
	ReasonNoCarrier = Reason(ftpalg.NumReasons) + iota
	// ReasonPortsExhausted: no free port was found to announce.
	ReasonPortsExhausted
	// ReasonKernel: the kernel refused the pinhole.
	ReasonKernel
	// ReasonHelper: an in-kernel helper that speaks FTP has the connection; it is left
	// alone.
	ReasonHelper
	// ReasonZone: the connection is in a conntrack zone that cannot be served.
	ReasonZone
	// ReasonNotTracked: conntrack does not know the connection.
	ReasonNotTracked
	// ReasonSessions: a control connection beyond max-sessions; not read.
	ReasonSessions
	// ReasonClientSessions: a control connection beyond max-client-sessions; not read.
	ReasonClientSessions
	// ReasonPinholes: an offer beyond max-pinholes.
	ReasonPinholes
	// ReasonClientPinholes: an offer beyond max-client-pinholes.
	ReasonClientPinholes
	// ReasonWrongWay: a data connection was ended because its payload went against its
	// transfer.
	ReasonWrongWay

	numReasons
)

var names = [numReasons]string{
	ReasonNoCarrier:      "no-carrier",
	ReasonPortsExhausted: "ports-exhausted",
	ReasonKernel:         "kernel-refused",
	ReasonHelper:         "kernel-helper",
	ReasonZone:           "zone",
	ReasonNotTracked:     "not-tracked",
	ReasonSessions:       "too-many-sessions",
	ReasonClientSessions: "too-many-sessions-of-client",
	ReasonPinholes:       "too-many-pinholes",
	ReasonClientPinholes: "too-many-pinholes-of-client",
	ReasonWrongWay:       "wrong-way",
}

// String returns the name of the reason as it stands in logs and metrics.
func (r Reason) String() string {
	switch {
	case r < Reason(ftpalg.NumReasons):
		return ftpalg.Reason(r).String()
	case r < numReasons:
		return names[r]
	}
	return "unknown"
}

// Reasons are the names of all reasons by their number.
func Reasons() []string {
	all := make([]string, numReasons)
	for r := range numReasons {
		all[r] = r.String()
	}
	return all
}
