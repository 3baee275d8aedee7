// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// flowtableBytes is how much a data connection carries in TestFlowtable.
const flowtableBytes = 32 << 20

// TestFlowtable: a data connection enters the administrator's flowtable as it
// does with the in-kernel helper, translated or not. From then on its packets
// traverse no chain.
func TestFlowtable(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "both-nat"} {
		for _, s := range []Subject{KernelHelper, Expectation, Claim} {
			for _, m := range []Mode{PASV, PORT} {
				t.Run(fmt.Sprintf("%s/%s/%s", p, s.Name, m), func(t *testing.T) {
					site := NewSiteOnly(t, position(p), AllowRelated, s)
					fw := site.Firewalls[0]
					if !fw.hasFlowtables(t) {
						t.Skip("this kernel has no flow tables (nf_flow_table_inet)")
					}
					site.Case(Case{Mode: m, Family: IPv4, Kind: "flowtable"}).Count(t)
					fw.LoadRules(t, `table inet fast {
						flowtable f { hook ingress priority filter; devices = { in0, out0 }; }
						chain seen {
							type filter hook forward priority filter - 1; policy accept;
							tcp dport != 21 tcp sport != 21 counter
						}
						chain fill {
							type filter hook forward priority filter + 1; policy accept;
							ct state established meta l4proto tcp flow add @f
						}
					}`)
					site.StartSubject(t)
					mini := startMini(t, site.ServerHost())
					mini.files["big"] = func(c net.Conn) {
						for range flowtableBytes / miniMedium {
							c.Write(miniData[:])
						}
					}
					go acceptAll(site.ListenControl(t, IPv4), mini.serve)
					session, err := miniLogin(site.Client, site.Dial(site.Client, IPv4, 0))
					if err != nil {
						t.Fatal(err)
					}
					defer session.c.Close()
					start := time.Now()
					n, err := session.transfer(m, "big", io.Discard)
					took := time.Since(start)
					if err != nil || n != flowtableBytes/miniMedium*miniMedium {
						t.Fatalf("%d bytes: %v", n, err)
					}
					packets := fw.counted(t, "chain inet fast seen")
					fmt.Printf("flowtable %-9s %-12s %s: %4d packets passed the chain, %.0f MB/s\n", p, s.Name, m, packets, float64(n)/1e6/took.Seconds())
					if packets < 3 || packets > 500 { // of more than 20,000
						t.Errorf("%d packets of the data connection passed the chain", packets)
					}
				})
			}
		}
	}
}

var counterPackets = regexp.MustCompile(`counter packets (\d+)`)

// counted is the value of the first counter in something that nft lists.
func (h *Host) counted(t *testing.T, what string) int {
	t.Helper()
	out, err := h.Run(10*time.Second, Command{Args: []string{"nft", "-f", "-"}, Stdin: "list " + what})
	m := counterPackets.FindStringSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%s: %v: %s", what, err, out)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}
