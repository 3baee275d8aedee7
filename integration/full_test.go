// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
)

// TestExpectationsFull: where the kernel has no room for another expectation, the
// next pinhole is a claim if the strategy permits that, and otherwise is refused.
func TestExpectationsFull(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Auto, Expectation} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("masquerade"), AllowRelated, s)
			site.Case(Case{Family: IPv4, Kind: "expectations full"}).Count(t)
			d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			if err := site.Firewalls[0].Enter(fillExpectations); err != nil {
				t.Fatal(err)
			}
			if s == Expectation {
				d.refusedFor(t, "kernel-refused")
				return
			}
			for _, m := range []Mode{PORT, PASV} {
				d.Announce(m).MustOpen(t)
			}
			if err := site.Daemons[0].WaitLog(lineTimeout, "strategy=claim"); err != nil {
				t.Errorf("nothing was claimed: %v", err)
			}
			status, err := site.Daemons[0].Status()
			if err != nil {
				t.Fatal(err)
			}
			if n, most := status["expectations"], status["expectations_max"]; n != most || most == 0.0 {
				t.Errorf("the status says %v of %v expectations", n, most)
			}
		})
	}
}

// fillExpectations makes expectations, each for a control connection of its own,
// until the kernel has no room.
func fillExpectations() error {
	ct, err := expect.Dial()
	if err != nil {
		return err
	}
	defer ct.Close()
	client, server := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 1 << 16 {
		master := expect.Tuple{Src: netip.AddrPortFrom(client, uint16(1+i)), Dst: netip.AddrPortFrom(server, 9)}
		if err := ct.Restore(expect.Forgotten{Original: master, Timeout: time.Hour, Helper: "sane"}); err != nil {
			return err
		}
		err := ct.CreateExpectation(expect.Expectation{Master: master, Source: client,
			Dest: netip.AddrPortFrom(server, uint16(1024+i)), Timeout: time.Hour})
		if errors.Is(err, unix.EMFILE) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the kernel has room for any number of expectations")
}
