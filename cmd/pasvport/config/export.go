// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/pasvport/pasvport/ftpalg"
)

// Exported is a configuration that another process can read: the answer of a
// daemon that is asked for its settings. It has no passwords.
type Exported struct {
	// Flags are the values of the settings that are flags, in the form of the
	// setting.
	Flags          map[string][]string `json:"flags"`
	Commands       Commands            `json:"commands,omitzero"`
	Files          []ftpalg.FileRule   `json:"files,omitempty"`
	Policies       []Policy            `json:"policies,omitempty"`
	VirtualServers []VirtualServer     `json:"virtual_servers,omitempty"`
}

// Export returns c for another process.
func (c Config) Export() Exported {
	e := Exported{Flags: map[string][]string{}, Commands: c.Commands, Files: c.Files, Policies: c.Policies, VirtualServers: slices.Clone(c.VirtualServers)}
	for i := range settings {
		if s := &settings[i]; s.flag() {
			e.Flags[s.name] = s.text(c)
		}
	}
	for i := range e.VirtualServers {
		e.VirtualServers[i].Check.Password = ""
	}
	return e
}

// Config returns what was exported, checked. It leaves out settings that this
// program does not know, for instance those of a newer daemon.
func (e Exported) Config() (Config, error) {
	var entries []entry
	for i := range settings {
		s := &settings[i]
		texts, ok := e.Flags[s.name]
		if !ok || !s.flag() {
			continue
		}
		given := entry{setting: s}
		for _, text := range texts {
			given.values = append(given.values, value{text: text})
		}
		entries = append(entries, given)
	}
	c, err := build(entries)
	if err != nil {
		return Config{}, err
	}
	c.Commands, c.Files = e.Commands, e.Files
	c.Policies, c.VirtualServers = e.Policies, e.VirtualServers
	return c, nil
}

// Text is the value of a setting in the form of the setting; empty for one that
// is not a flag.
func (c Config) Text(name string) string {
	s, ok := settings.lookup(name)
	if !ok || !s.flag() {
		return ""
	}
	return strings.Join(s.text(c), ",")
}

// Examined are the settings that decide what a daemon does to a ruleset, a kernel
// or a data connection: the ones that a diagnosis depends on.
func Examined(names []string) []string {
	examined := []string{"port", "allow", "strategy", "carrier", "queue", "fast-path", "min-data-port", "keepalive", "session-idle",
		"tls", "tls-port", "monitor", "queue-num", "table", "ct-mark", "fail", "policies", "virtual-servers"}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(examined, n) })
}

// Given reports whether a flag or --config was given, except the named ones.
func (f *Flags) Given(but ...string) bool {
	if f.set.Changed("config") {
		return true
	}
	return slices.ContainsFunc(f.values, func(v *flagValue) bool {
		return len(v.values) > 0 && !slices.Contains(but, v.setting.name)
	})
}
