// SPDX-License-Identifier: Apache-2.0

package config

// LoadFile returns the defaults, changed by a file that must exist, and
// checked: what Flags.Load returns with --config and no other flag.
func LoadFile(name string) (Config, error) {
	entries, err := readFile(name, true)
	if err != nil {
		return Config{}, err
	}
	return build(entries)
}
