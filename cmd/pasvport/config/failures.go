// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"time"
)

const (
	mostFailures = 1000
	longestBlock = 30 * 24 * time.Hour
)

const wantFailures = "N in DURATION, block DURATION, such as 5 in 1m, block 10m, with N from 1 to 1000, at most 24h and 720h, or off"

// String is the value in the form of the setting.
func (l LoginFailures) String() string {
	if l.Most == 0 {
		return "off"
	}
	return fmt.Sprintf("%d in %s, block %s", l.Most, durationText(l.Within), durationText(l.Block))
}

func setFailures(c *Config, v string) error {
	if on, err := parseToggle(v); err == nil && !on {
		c.LoginFailures = LoginFailures{}
		return nil
	}
	words := strings.Fields(strings.ReplaceAll(v, ",", " , "))
	if len(words) != 6 || words[1] != "in" || words[3] != "," || words[4] != "block" {
		return errValue
	}
	n, err := parseNumber(words[0], 1, mostFailures)
	within, err1 := time.ParseDuration(words[2])
	block, err2 := time.ParseDuration(words[5])
	if err != nil || err1 != nil || err2 != nil || within < time.Second || within > 24*time.Hour || block < time.Second || block > longestBlock {
		return errValue
	}
	c.LoginFailures = LoginFailures{n, within, block}
	return nil
}
