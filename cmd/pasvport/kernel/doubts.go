// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/rules"
)

// Sysctl reads a number from /proc/sys, in the network namespace of the calling
// thread. ok is false if it cannot be read.
func Sysctl(name string) (n int, ok bool) {
	text, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return n, err == nil
}

// Doubts are the doubts about a configuration on this machine, which run, check
// and doctor report.
func Doubts(cfg config.Config) []config.Doubt {
	list := append(cfg.Doubts(), pair.Doubts(cfg)...)
	if v, ok := Sysctl("net/netfilter/nf_conntrack_events"); ok && v == 0 {
		list = append(list, config.Doubt{
			Text: "nf_conntrack_events is 0: conntrack does not report when connections begin and end, so pinholes that were used or whose session is over stay until they expire",
			Hint: "sysctl -w net.netfilter.nf_conntrack_events=1",
		})
	}
	if v, ok := Sysctl("net/netfilter/nf_conntrack_acct"); ok && v == 0 && (cfg.LogTransfers || cfg.Xferlog != "") {
		list = append(list, config.Doubt{
			Text: "nf_conntrack_acct is 0: conntrack counts no bytes, so transfers are logged without them",
			Hint: "sysctl -w net.netfilter.nf_conntrack_acct=1, for the connections that begin from then on",
		})
	}
	for _, r := range cfg.Chains {
		// Without the privilege nothing is known; run says of one that does not exist.
		if why, err := rules.Idle(r); err == nil && why != "" {
			list = append(list, config.Doubt{
				Text: "allow chain=" + r.String() + ": a rule in this chain does nothing for a data connection: " + why,
				Hint: "name the chain of type filter that drops them, such as that of hook forward; nft list chains shows all",
			})
		}
	}
	for _, name := range cfg.AdvertisedInterfaces() {
		if _, err := net.InterfaceByName(name); err != nil {
			list = append(list, config.Doubt{
				Text: "advertise interface:" + name + ": there is no such interface now, so nothing is advertised for it until it appears",
				Hint: "ip -brief link lists the names",
			})
		}
	}
	return list
}
