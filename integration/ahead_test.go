// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// aheadTimeout is how long pipelined commands may take to the server: the
// seventeenth change waits until the first has arrived, which the daemon asks the
// server to confirm.
const aheadTimeout = 5 * time.Second

// TestManyPortsAhead: forty announcements before the server answers. All reach
// the server, translated, and quickly; the last one opens.
func TestManyPortsAhead(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			site := NewSite(t, position("both-nat"), AllowRelated, s)
			for _, h := range []*Host{site.Client, site.Client2} { // texts grow and shrink
				t.Run(h.Role, func(t *testing.T) {
					site.Case(Case{Kind: "ahead", Mode: PORT}).Count(t)
					talk := site.Talk(t, site.ListenControl(t, IPv4), h, IPv4)
					o := &Offer{Opener: site.Server, listener: site.listen(t, h, talk.clientAddr())}
					go o.serve()
					const n = 40
					last := addrOf(o.listener.Addr())
					begun := time.Now()
					for i := range n {
						a := netip.AddrPortFrom(last.Addr(), uint16(30000+i))
						if i == n-1 {
							a = last
						}
						if _, err := io.WriteString(talk.Client, "PORT "+argument(PORT, a)+"\r\n"); err != nil {
							t.Fatal(err)
						}
					}
					seen := strings.ReplaceAll(addrOf(talk.Server.RemoteAddr()).Addr().String(), ".", ",")
					for i := range n {
						line, err := hear(talk.Server, talk.heardByServer)
						if err == nil && strings.HasPrefix(line, "PORT "+seen+",") {
							o.To, err = parseCommand(line)
						} else if err == nil {
							err = fmt.Errorf("not translated: %q", line)
						}
						if err != nil {
							t.Fatalf("line %d after %v: %v", i, time.Since(begun), err)
						}
					}
					if took := time.Since(begun); took > aheadTimeout*slowness {
						t.Errorf("it took %v", took)
					}
					for range n {
						talk.Reply("200 ok")
					}
					o.MustOpen(t)
				})
			}
		})
	}
}

// TestTransfersAhead: two announcements before the server connects for the first.
// Each arrives translated, and the last one opens: a connection has one pinhole, as
// it has one expectation with the in-kernel helper.
func TestTransfersAhead(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("both-nat"), AllowRelated, s)
			site.Case(Case{Kind: "ahead", Mode: PORT}).Count(t)
			talk := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			var offers [2]*Offer
			for i := range offers {
				o := &Offer{Opener: site.Server, listener: site.listen(t, site.Client, talk.clientAddr())}
				go o.serve()
				var err error
				if o.To, err = parseCommand(talk.Command("PORT " + argument(PORT, addrOf(o.listener.Addr())))); err != nil {
					t.Fatal(err)
				}
				if got := talk.Command("RETR file"); got != "RETR file" {
					t.Fatalf("the server received %q", got)
				}
				offers[i] = o
			}
			talk.Reply("200 ok")
			talk.Reply("150 coming")
			offers[0].MustRefuse(t, site.Server, "another announcement took its place")
			talk.Reply("425 no connection")
			talk.Reply("200 ok")
			talk.Reply("150 coming")
			offers[1].MustOpen(t)
			talk.Reply("226 done")
		})
	}
}

// TestManyAhead: 200 commands before a PASV, whose reply is the last of 201.
func TestManyAhead(t *testing.T) {
	for _, s := range subjects(t) {
		for _, m := range []Mode{PASV, EPSV} {
			t.Run(s.Name+"/"+string(m), func(t *testing.T) {
				t.Parallel()
				needDaemon(t)
				site := NewSite(t, position("both-nat"), AllowRelated, s)
				site.Case(Case{Kind: "ahead", Mode: m}).Count(t)
				talk := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
				const n = 200
				if _, err := io.WriteString(talk.Client, strings.Repeat("CWD x\r\n", n)); err != nil {
					t.Fatal(err)
				}
				for i := range n {
					if line, err := hear(talk.Server, talk.heardByServer); line != "CWD x" || err != nil {
						t.Fatalf("line %d: %q, %v", i, line, err)
					}
				}
				if _, err := io.WriteString(talk.Server, strings.Repeat("250 ok\r\n", n-1)); err != nil {
					t.Fatal(err)
				}
				for i := range n - 1 {
					if line, err := hear(talk.Client, talk.heardByClient); line != "250 ok" || err != nil {
						t.Fatalf("reply %d: %q, %v", i, line, err)
					}
				}
				ln := site.listen(t, site.Server, site.ServerAddr(IPv4))
				o := &Offer{Opener: site.Client, listener: ln}
				go o.serve()
				talk.Command(string(m))
				talk.Reply("250 ok") // to the last command before PASV
				reply := "227 Entering Passive Mode (" + argument(PORT, addrOf(ln.Addr())) + ")."
				if m == EPSV {
					reply = fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", addrOf(ln.Addr()).Port())
				}
				got := talk.Reply(reply)
				var err error
				if m == EPSV {
					o.To, err = parseExtended(got, addrOf(talk.Client.RemoteAddr()).Addr())
				} else {
					o.To, err = parseCommand("PORT " + numbers(got))
				}
				if err != nil {
					t.Fatal(err)
				}
				o.MustOpen(t)
			})
		}
	}
}
