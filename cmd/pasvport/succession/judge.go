// SPDX-License-Identifier: Apache-2.0

package succession

import (
	"errors"
	"fmt"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// Terms are what a pinhole has to agree with to be open again: the control
// connection as conntrack knows it now, and the present configuration.
type Terms struct {
	Ends   *ftpalg.Endpoints
	Zone   uint16 // of the original direction
	Policy *ftpalg.Policy
	// StrictActivePort wants active data connections to come from the control
	// port - 1.
	StrictActivePort bool
	// Timeout is how long a new pinhole stays.
	Timeout time.Duration
}

// What Judge answers, beside the reasons of the engine.
var (
	errExpired = errors.New("its time is over")
	errPort    = errors.New("its source port is not the one that the data connection must have")
	errData    = errors.New("its data connection is another one")
)

// Judge returns p as it may be opened again, or why it may not. It is opened at
// most for the time of a new one, and for payload in one direction if policy wants that.
func (t *Terms) Judge(p Pinhole) (Pinhole, error) {
	if p.Left = min(p.Left, t.Timeout); p.Left <= 0 {
		return p, errExpired
	}
	o := ftpalg.Offer{Mode: p.Mode(), Source: p.Source, Public: p.Public, Target: p.Target, NAT: p.NAT}
	if r := t.Policy.Reopen(*t.Ends, &o); r != ftpalg.ReasonPlain {
		return p, fmt.Errorf("from %v to %v, which is %v: %v", p.Source, p.Public, p.Target, r)
	}
	if port := t.Ends.Server.Port() - 1; p.Active && t.StrictActivePort {
		if p.Port != 0 && p.Port != port {
			return p, errPort
		}
		p.Port = port
	}
	if t.Policy.OneWay && p.Way == rules.WayAny || p.Way > rules.WayReply {
		p.Way = rules.WayUndecided // until its command is read
	}
	if p.Data != nil && !p.fits(expect.Tuple(*p.Data), t.Zone) {
		return p, errData
	}
	return p, nil
}

// fits reports whether a data connection is one for which p is open.
func (p *Pinhole) fits(t expect.Tuple, zone uint16) bool {
	return t.Src.Addr() == p.Source && t.Dst == p.Public && t.Zone == zone && (p.Port == 0 || p.Port == t.Src.Port())
}
