// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// maxLength is the longest line that is read, and so the highest limit of a
// length.
const maxLength = 4096

const (
	wantCommand = "a command of three or four letters such as DELE, or SITE CHMOD, or a list of them"
	wantPattern = "a file's name with * and ? in place of any bytes, such as \"*.exe\", or a list of them"
)

var (
	wantDirection = orList(actionNames) + ", or a list of them"
	commandKeys   = keys{
		{name: "allow", many: true, want: wantCommand},
		{name: "deny", many: true, want: wantCommand},
	}
	fileKeys = keys{
		{name: "deny", many: true, want: wantPattern},
		{name: "direction", many: true, some: true, want: wantDirection},
		{name: "fold-case", want: "on or off"},
	}
)

// actionNames are the words of ftpalg.FileActions, in the order of its bits.
var actionNames = []string{"upload", "download", "delete", "rename"}

func parseCommands(name string, n *yaml.Node, _ keys) ([]mapping, error) {
	m, err := parseOne(name, commandsKey, n, commandKeys)
	return []mapping{m}, err
}

// parseFiles reads one mapping, or a list of them.
func parseFiles(name string, n *yaml.Node, _ keys) ([]mapping, error) {
	if follow(n).Kind != yaml.MappingNode {
		return parseList(name, filesKey, n, fileKeys)
	}
	m, err := parseOne(name, filesKey, n, fileKeys)
	return []mapping{m}, err
}

func (c *Config) addCommands(m mapping, _ keys) error {
	return m.each(func(key, text string) (err error) {
		if key == "allow" {
			c.Commands.Allow, err = addCommand(c.Commands.Allow, text, true)
		} else {
			c.Commands.Deny, err = addCommand(c.Commands.Deny, text, true)
		}
		return err
	}, nil)
}

func (c *Config) addFiles(m mapping, _ keys) error {
	var r ftpalg.FileRule
	if err := m.each(func(key, text string) error { return setFiles(&r, key, text) }, nil); err != nil {
		return err
	}
	if len(r.Patterns) == 0 {
		return m.at.wrong(fmt.Errorf("%s without deny: want %s", filesKey, wantPattern))
	}
	c.Files = append(c.Files, r)
	return nil
}

func setFiles(r *ftpalg.FileRule, key, text string) error {
	switch key {
	case "deny":
		if text == "" || len(text) > 255 || strings.ContainsAny(text, "/\r\n\x00") {
			return errValue
		}
		r.Patterns = append(r.Patterns, text)
		return nil
	case "direction":
		for item := range strings.SplitSeq(text, ",") {
			i := slices.Index(actionNames, strings.TrimSpace(item))
			if i < 0 {
				return errValue
			}
			r.Actions |= 1 << i
		}
		return nil
	}
	on, err := parseToggle(text)
	r.FoldCase = on
	return err
}

// addCommand adds a list of commands; sub permits subcommands of SITE.
func addCommand(list map[string]bool, v string, sub bool) (map[string]bool, error) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for item := range strings.SplitSeq(v, ",") {
		words := strings.Fields(strings.ToUpper(item))
		switch {
		case len(words) == 2 && sub && words[0] == "SITE" && len(words[1]) <= 20 && strings.Trim(words[1], letters+"0123456789_-") == "":
		case len(words) != 1 || len(words[0]) < 3 || len(words[0]) > 4 || strings.Trim(words[0], letters) != "":
			return list, errValue
		}
		if list == nil {
			list = map[string]bool{}
		}
		list[strings.Join(words, " ")] = true
	}
	return list, nil
}

func commandsText(c Config) []string {
	var parts []string
	for _, e := range []struct {
		name string
		list map[string]bool
	}{{"allow", c.Commands.Allow}, {"deny", c.Commands.Deny}} {
		if len(e.list) > 0 {
			parts = append(parts, e.name+" "+joined(e.list))
		}
	}
	return parts
}

func joined(list map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(list)), ",") }

func filesText(c Config) []string {
	var parts []string
	for _, r := range c.Files {
		var words []string
		for i, name := range actionNames {
			if r.Actions&(1<<i) != 0 {
				words = append(words, name)
			}
		}
		text := strings.Join(append(words, "deny"), " ") + " " + strings.Join(r.Patterns, ",")
		if r.FoldCase {
			text += " in any case of letters"
		}
		parts = append(parts, text)
	}
	return parts
}

func addModes(c *Config, v string) error {
	return eachWord(v, map[string]*bool{"active": &c.Modes.Active, "passive": &c.Modes.Passive})
}

func addFamilies(c *Config, v string) error {
	return eachWord(v, map[string]*bool{"ipv4": &c.Families.IPv4, "ipv6": &c.Families.IPv6})
}

// eachWord sets the values that the words of a list stand for.
func eachWord(v string, words map[string]*bool) error {
	for item := range strings.SplitSeq(v, ",") {
		b, ok := words[strings.ToLower(strings.TrimSpace(item))]
		if !ok {
			return errValue
		}
		*b = true
	}
	return nil
}

func wordsText(yes, also bool, word, other string) []string {
	var list []string
	if yes {
		list = append(list, word)
	}
	if also {
		list = append(list, other)
	}
	return list
}

// addDataPorts reads a list of ranges, each for one side or for both.
func addDataPorts(c *Config, v string) error {
	for item := range strings.SplitSeq(v, ",") {
		side, text, one := strings.Cut(strings.TrimSpace(item), "=")
		if !one {
			side, text = "", side
		}
		r, err := parsePortRange(text)
		if err != nil {
			return err
		}
		switch side {
		case "":
			c.DataPorts = DataPorts{r, r}
		case "active":
			c.DataPorts.Active = r
		case "passive":
			c.DataPorts.Passive = r
		default:
			return errValue
		}
	}
	return nil
}

func dataPortsText(c Config) []string {
	var list []string
	if r := c.DataPorts.Active; r != (rules.PortRange{}) {
		list = append(list, "active="+r.String())
	}
	if r := c.DataPorts.Passive; r != (rules.PortRange{}) {
		list = append(list, "passive="+r.String())
	}
	return list
}

func setMapDataPorts(c *Config, v string) error {
	c.MapDataPorts = rules.PortRange{}
	if v == "" {
		return nil
	}
	r, err := parsePortRange(v)
	if err == nil && r.Low < 1024 {
		err = errValue
	}
	c.MapDataPorts = r
	return err
}

func mapDataPortsText(c Config) []string {
	if c.MapDataPorts == (rules.PortRange{}) {
		return []string{""}
	}
	return []string{fmt.Sprintf("%d-%d", c.MapDataPorts.Low, c.MapDataPorts.High)}
}

// mapsPorts reports whether data connections of some sessions are translated from
// other ports.
func (c Config) mapsPorts() bool {
	return c.some(func(c *Config) bool { return c.MapDataPorts != rules.PortRange{} })
}

// some reports whether something holds for some sessions.
func (c Config) some(is func(*Config) bool) bool {
	return is(&c) || slices.ContainsFunc(c.Policies, func(p Policy) bool { return is(p.Config) })
}

func setMark(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 0, 32)
	c.Mark = uint32(n)
	return err
}

func markText(mark uint32) string {
	if mark == 0 {
		return "0"
	}
	return fmt.Sprintf("0x%x", mark)
}

// checkMark checks the mark of c, which applies to some sessions.
func (c *Config) checkMark(all *Config) error {
	switch {
	case c.Mark == 0:
	case all.Strategy == StrategyExpectation:
		return fmt.Errorf("mark %q with strategy %q: want strategy auto or claim, as what is expected has the mark of its control connection", markText(c.Mark), all.Strategy)
	case all.Allow == AllowMark && c.Mark&all.CTMark != 0:
		return fmt.Errorf("mark %q with ct-mark 0x%08x: want bits that are not ours", markText(c.Mark), all.CTMark)
	}
	return nil
}
