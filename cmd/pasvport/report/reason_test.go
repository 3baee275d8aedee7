// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"

	"github.com/pasvport/pasvport/ftpalg"
)

// TestHints: each refusal, denial or session left alone has a hint.
func TestHints(t *testing.T) {
	without := map[ftpalg.Reason]bool{ // segments, offers that are opened, and what the two ends decide
		ftpalg.ReasonPlain: true, ftpalg.ReasonRetransmission: true, ftpalg.ReasonPartial: true, ftpalg.ReasonPieces: true, ftpalg.ReasonHeldTwice: true,
		ftpalg.ReasonGap: true, ftpalg.ReasonAhead: true, ftpalg.ReasonResync: true, ftpalg.ReasonTooOld: true, ftpalg.ReasonFarAway: true, ftpalg.ReasonLineTooLong: true,
		ftpalg.ReasonChanged: true, ftpalg.ReasonOffered: true, ftpalg.ReasonTranslated: true, ftpalg.ReasonRepaired: true,
		ftpalg.ReasonThirdParty: true, ftpalg.ReasonRejected: true, ftpalg.ReasonNoConnection: true, ftpalg.ReasonClosing: true,
		ftpalg.ReasonReset: true, ftpalg.ReasonQuit: true,
	}
	for r := range numReasons {
		if want := r >= Reason(ftpalg.NumReasons) || !without[ftpalg.Reason(r)]; (r.Hint() != "") != want {
			t.Errorf("%s: hint %q, want one: %t", r, r.Hint(), want)
		}
	}
}
