// SPDX-License-Identifier: Apache-2.0

// Package config turns the command line and the configuration file into one
// validated Config of real types.
//
// Every setting is a row of one table: its name is both the flag and the key of
// the file, and both kinds of text go through the same parser. A flag replaces
// the key of the same name as a whole, lists included.
//
// An error is one line that names the flag or the key (with file, line and
// column), the value, and what is allowed. The package reads nothing but its
// input: whether a chain or an address exists is for the caller to find out.
package config
