// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// setUser takes a name as useradd(8) would; whether there is such a user is for
// the caller to find out.
func setUser(c *Config, v string) error {
	if strings.ContainsAny(v, ": \t\n,/") || strings.HasPrefix(v, "-") || len(v) > 32 {
		return errValue
	}
	c.User = v
	return nil
}
