// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// setUser accepts a name as useradd(8) would; whether the user exists is for the
// caller to find out.
func setUser(c *Config, v string) error {
	if strings.ContainsAny(v, ": \t\n,/") || strings.HasPrefix(v, "-") || len(v) > 32 {
		return errValue
	}
	c.User = v
	return nil
}
