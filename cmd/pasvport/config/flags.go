// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Flags collects the values of a command's flags until Load parses them: only
// then is it known which keys of the file count.
type Flags struct {
	set    *pflag.FlagSet
	file   string
	values []*flagValue
}

// Bind adds --config and the named settings to a command's flags; without names,
// all of them.
func Bind(fs *pflag.FlagSet, names ...string) *Flags {
	f := &Flags{set: fs}
	fs.StringVar(&f.file, "config", "", "configuration `FILE` with the flags as keys (default "+DefaultFile+" if it exists)")
	defaults := Default()
	for i := range settings {
		s := &settings[i]
		if s.flag() && (len(names) == 0 || slices.Contains(names, s.name)) {
			f.bind(s, defaults)
		}
	}
	return f
}

func (f *Flags) bind(s *setting, defaults Config) {
	v := &flagValue{setting: s}
	if s.name != "queues" {
		// The number of cores of the machine that prints the help is meaningless.
		v.text = strings.Join(s.text(defaults), ",")
	}
	f.values = append(f.values, v)
	flag := f.set.VarPF(v, s.name, "", s.usage)
	if s.toggle {
		flag.NoOptDefVal = "on"
	}
}

// Load returns the defaults, changed by the file, changed by the flags, and
// checked. The default file is read if it exists and can add something to the
// flags; one named by --config must exist. Errors are one line.
func (f *Flags) Load() (Config, error) {
	var entries []entry
	given := map[string]bool{}
	for _, v := range f.values {
		if len(v.values) > 0 {
			given[v.setting.name] = true
			entries = append(entries, v.entry())
		}
	}
	named := f.set.Changed("config")
	if named || len(given) < len(f.values) {
		fromFile, err := readFile(f.file, named)
		if err != nil {
			return Config{}, err
		}
		// Keys that a flag replaces are checked, too.
		if _, err := build(fromFile); err != nil {
			return Config{}, err
		}
		entries = append(without(fromFile, given), entries...)
	}
	return build(entries)
}

// File returns the path of the file that Load reads, or "".
func (f *Flags) File() string {
	name := f.file
	if !f.set.Changed("config") {
		if _, err := os.Stat(DefaultFile); err != nil {
			return ""
		}
		name = DefaultFile
	}
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// without leaves out the entries whose setting was given.
func without(entries []entry, given map[string]bool) []entry {
	var rest []entry
	for _, e := range entries {
		if !given[e.setting.name] {
			rest = append(rest, e)
		}
	}
	return rest
}

// flagValue stores the values as written, in order. It never refuses a value, so
// that errors read the same for flags and keys.
type flagValue struct {
	setting *setting
	text    string // default, for the help text
	values  []string
}

func (v *flagValue) Set(s string) error { v.values = append(v.values, s); return nil }
func (v *flagValue) String() string     { return v.text }
func (v *flagValue) Type() string       { return v.setting.value }

// entry passes the values to the setting; the last value of a single one wins.
func (v *flagValue) entry() entry {
	values := v.values
	if !v.setting.many {
		values = values[len(values)-1:]
	}
	e := entry{setting: v.setting}
	for _, text := range values {
		e.values = append(e.values, value{text: text})
	}
	return e
}
