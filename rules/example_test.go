// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"fmt"
	"strings"

	"github.com/pasvport/pasvport/rules"
)

// What Install would put into the kernel can be read, and loaded with "nft -f".
func ExampleText() {
	text := rules.Text(rules.Config{
		Ports:  []rules.PortRange{{Low: 21, High: 21}, {Low: 2100, High: 2199}},
		Chains: []rules.ChainRef{{Family: rules.FamilyIPv4, Table: "filter", Chain: "FORWARD"}},
	})
	set, _, _ := strings.Cut(text[strings.Index(text, "\tset control_ports"):], "\n\n")
	fmt.Println(strings.ReplaceAll(set, "\t", "  "))
	fmt.Println(text[strings.Index(text, "insert rule"):])
	// Output:
	//   set control_ports {
	//     type inet_service
	//     flags interval
	//     elements = { 21, 2100-2199 }
	//   }
	// insert rule ip filter FORWARD ct status expected ip saddr . ip daddr . tcp dport @pasvport4 counter accept comment "pasvport pasvport"
}

// An administrator's chain has the same name as on the command line.
func ExampleParseChainRef() {
	r, err := rules.ParseChainRef("inet/filter/forward")
	fmt.Println(r.Family, r.Table, r.Chain, err)
	_, err = rules.ParseChainRef("bridge/filter/forward")
	fmt.Println(err)
	// Output:
	// inet filter forward <nil>
	// chain "bridge/filter/forward": family bridge cannot hold pinholes; use inet, ip or ip6
}
