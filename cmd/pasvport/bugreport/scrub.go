// SPDX-License-Identifier: Apache-2.0

package bugreport

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/replay"
)

var (
	// comment matches nft's comments, which people write.
	comment = regexp.MustCompile(`comment "[^"]*"`)
	// hardware matches Ethernet addresses.
	hardware = regexp.MustCompile(`\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b`)
)

// Scrub removes personal data from the archive: addresses become others, always
// the same ones, and so do those found in the DNS; names of users and files
// become user1, file1 and so on; comments and the text of the configuration file
// are left out. It does not withstand someone who knows what to look for: ports,
// sizes and times are still there.
func (a *Archive) Scrub() error {
	addresses, names := replay.NewText(), newNames()
	for i := range a.files {
		f := &a.files[i]
		switch {
		case f.name == "configuration.yaml":
			f.text = []byte("# left out by --scrub; settings.json has the settings\n")
			continue
		case strings.HasSuffix(f.name, ".json"), strings.HasSuffix(f.name, ".jsonl"):
			f.text = names.replace(f.text, f.name == "events.jsonl")
		default: // doctor shows rules, too
			f.text = comment.ReplaceAllFunc(f.text, func(c []byte) []byte {
				if bytes.Contains(c, []byte("pasvport")) {
					return c
				}
				return []byte(`comment "x"`)
			})
		}
		f.text = hardware.ReplaceAllFunc(f.text, func(mac []byte) []byte {
			return fmt.Appendf(nil, "02:00:00:00:00:%02x", names.number("mac", string(mac))&0xff)
		})
		for _, host := range a.hosts {
			f.text = bytes.ReplaceAll(f.text, []byte(host), fmt.Appendf(nil, "host%d", names.number("host", host)))
		}
		f.text = addresses.Replace(f.text)
	}
	return addresses.Err()
}

// hostNames are the DNS names in the settings, the longest first as others may be
// the end of it. They reveal addresses.
func hostNames(c *config.Config) (list []string) {
	add := func(c *config.Config) {
		for _, o := range c.Advertise {
			if o.Name != "" {
				list = append(list, o.Name)
			}
		}
	}
	add(c)
	for i := range c.Policies {
		add(c.Policies[i].Config)
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	return slices.Compact(list)
}

// secret are the JSON fields with names that people gave, and their replacements.
var secret = map[string]string{
	"user": "user", "path": "file", "absolute": "file", "reply": "reply", "rule": "rule", "note": "note", "User": "user",
	"Files": "file", "files": "file", "from_file": "file", "xferlog": "file", "Password": "password",
}

// names gives names numbers, always the same ones.
type names struct{ numbers map[string]int }

func newNames() *names { return &names{map[string]int{}} }

func (n *names) number(kind, name string) int {
	key := kind + " " + name
	if n.numbers[key] == 0 {
		n.numbers[key] = len(n.numbers) + 1
	}
	return n.numbers[key]
}

// replace returns JSON text, or lines of it, with other names. Anything else
// stays.
func (n *names) replace(text []byte, lines bool) []byte {
	if !lines {
		return n.document(text, "  ")
	}
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		b.Write(n.document(line, ""))
	}
	return b.Bytes()
}

func (n *names) document(text []byte, indent string) []byte {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return text
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", indent)
	e.SetEscapeHTML(false)
	if e.Encode(n.value(v, "")) != nil {
		return text
	}
	return b.Bytes()
}

// value returns a value with other names. kind is the replacement of a name;
// empty: it stays.
func (n *names) value(v any, kind string) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			inner := secret[key]
			if inner == "" {
				inner = kind
			}
			v[key] = n.value(member, inner)
		}
	case []any:
		for i := range v {
			v[i] = n.value(v[i], kind)
		}
	case string:
		if kind != "" && v != "" {
			return fmt.Sprintf("%s%d", kind, n.number(kind, v))
		}
	}
	return v
}
