// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
)

// Explain writes what a file means for a control connection: which policy
// applies, and for each setting that a policy may change its value and the line
// that sets it. The file has been loaded without an error.
func Explain(w io.Writer, name string, port uint16, client, server netip.Addr) error {
	entries, err := readFile(name, true)
	if err != nil {
		return err
	}
	c, err := build(entries)
	if err != nil {
		return err
	}
	if !c.ControlPort(port) {
		_, err := fmt.Fprintf(w, "%d is not a control port: connections to it are not read\n", port)
		return err
	}
	x := explanation{where: map[string]string{}}
	x.note(entries, "")
	which, values := "no policy holds", c
	for i := range c.Policies {
		p := &c.Policies[i]
		if !p.Matches(port, client, server) {
			continue
		}
		m := policyMapping(entries, i)
		which, values = fmt.Sprintf("policy %d holds (%s), %s", i+1, p, m.at.place()), *p.Config
		x.note(m.entries, "policy, ")
		break
	}
	if _, err := fmt.Fprintln(w, which); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range settings.with(inPolicy) {
		said := x.where[s.name]
		if said == "" {
			said = "default"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.name, orNone(strings.Join(s.text(values), ",")), said)
	}
	if c.EncryptedPort(port) {
		fmt.Fprintf(t, "tls-port\t%d\tencrypted from the first byte, so that none of its lines is read\n", port)
	}
	return t.Flush()
}

// explanation has the places of keys.
type explanation struct{ where map[string]string }

func (x *explanation) note(entries []entry, by string) {
	for _, e := range entries {
		x.where[e.setting.name] = by + e.at.place()
	}
}

// policyMapping returns the place of a policy.
func policyMapping(entries []entry, i int) mapping {
	for _, e := range entries {
		if e.setting.name == policiesKey {
			return e.maps[i]
		}
	}
	return mapping{}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
