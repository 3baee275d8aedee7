// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"time"
)

// minIdle is the shortest idle time that makes sense: shorter ones are pauses
// between two commands.
const minIdle = time.Second

const wantIdle = "a duration of at least 1s such as 5m or 2h, or off"

// idle is a setting with an idle time, 0 for off.
func idle(name, usage string, f facts, field func(*Config) *time.Duration) setting {
	return setting{
		name: name, value: "DURATION", usage: usage, want: wantIdle, facts: f,
		fields: func(c *Config) []any { return []any{field(c)} },
		add: func(c *Config, v string) (err error) {
			*field(c), err = parseIdle(v)
			return err
		},
		text: func(c Config) []string { return []string{IdleText(*field(&c))} },
	}
}

// parseIdle accepts YAML's words for off, which it parses as a boolean.
func parseIdle(v string) (time.Duration, error) {
	switch strings.ToLower(v) {
	case "off", "false", "no", "0":
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d != 0 && d < minIdle {
		return 0, errValue
	}
	return d, nil
}

// IdleText is an idle time in the form of the setting, "off" for none.
func IdleText(d time.Duration) string {
	if d == 0 {
		return "off"
	}
	return durationText(d)
}
