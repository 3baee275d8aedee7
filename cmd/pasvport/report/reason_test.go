// SPDX-License-Identifier: Apache-2.0

package report

import (
	"os"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/ftpalg"
)

// TestReasonsDocument: docs/protocol.md has every reason.
func TestReasonsDocument(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Reasons() {
		if name == "" || !strings.Contains(string(doc), "| `"+name+"` |") {
			t.Errorf("reason %q is not explained", name)
		}
	}
}

// TestHints: what is refused, denied or left alone says what to do about it.
func TestHints(t *testing.T) {
	without := map[ftpalg.Reason]bool{ // segments, offers that are opened, and what the two ends decide
		ftpalg.ReasonPlain: true, ftpalg.ReasonRetransmission: true, ftpalg.ReasonPartial: true, ftpalg.ReasonPieces: true, ftpalg.ReasonHeldTwice: true,
		ftpalg.ReasonGap: true, ftpalg.ReasonResync: true, ftpalg.ReasonTooOld: true, ftpalg.ReasonFarAway: true, ftpalg.ReasonLineTooLong: true,
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
