// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// virtualServersKey is the key for virtual servers, which is not a flag.
const virtualServersKey = "virtual-servers"

// Limits of virtual servers.
const (
	maxVirtualServers = 32
	maxServers        = 64 // of one virtual server
	maxWeight         = 100
	maxServerName     = 32
)

var (
	virtualServerKeys = keys{
		{name: "name", want: wantName},
		{name: "listen", many: true, want: "an address of this machine, or a list of them"},
		{name: "port", want: "a port from 1 to 65535"},
		{name: "method", want: fmt.Sprintf("%s, %s or %s", RoundRobin, SourceHash, LeastSessions)},
		{name: "slow-start", want: "a duration from 1s to 1h such as 30s, or off"},
		{name: "check", parse: parseCheck},
		{name: "servers", parse: parseServers},
	}
	serverKeys = keys{
		{name: "name", want: wantName},
		{name: "address", many: true, want: "an address, or a list of one for each family"},
		{name: "port", want: "a port from 1 to 65535"},
		{name: "weight", want: fmt.Sprintf("a number from 0 to %d", maxWeight)},
		{name: "backup", want: "on or off"},
		{name: "advertise", many: true, want: "an address, or a list of one for each family"},
	}
	checkKeys = keys{
		{name: "interval", want: "a duration from 100ms to 1h such as 5s, or off"},
		{name: "timeout", want: "a duration such as 2s, above 0 and less than the interval"},
		{name: "rise", want: "a number from 1 to 100"},
		{name: "fall", want: "a number from 1 to 100"},
		{name: "user", want: "a user's name of at most 64 printable characters"},
		{name: "password", secret: true, want: "a password of at most 64 printable characters"},
	}
)

var wantName = fmt.Sprintf("a letter, then letters, digits, '_' or '-', at most %d in all", maxServerName)

func parseVirtualServers(name string, n *yaml.Node, _ keys) ([]mapping, error) {
	return parseList(name, virtualServersKey, n, virtualServerKeys)
}

func parseServers(name string, n *yaml.Node, _ keys) ([]mapping, error) {
	return parseList(name, "servers", n, serverKeys)
}

func parseCheck(name string, n *yaml.Node, _ keys) ([]mapping, error) {
	m, err := parseOne(name, "check", n, checkKeys)
	return []mapping{m}, err
}

// addVirtualServer adds the virtual server that m describes.
func (c *Config) addVirtualServer(m mapping, _ keys) error {
	v := VirtualServer{Port: 21, Method: RoundRobin, Check: Check{Interval: 5 * time.Second, Rise: 2, Fall: 3}}
	if err := m.each(v.set, v.add); err != nil {
		return err
	}
	v.Check.Timeout = cmp.Or(v.Check.Timeout, min(2*time.Second, v.Check.Interval/2))
	for i := range v.Servers {
		s := &v.Servers[i]
		s.Port = cmp.Or(s.Port, v.Port)
		s.Name = cmp.Or(s.Name, s.Addrs[0].String())
	}
	if err := v.check(); err != nil {
		return m.at.wrong(fmt.Errorf("virtual server %q: %w", v.Name, err))
	}
	c.VirtualServers = append(c.VirtualServers, v)
	return nil
}

func (v *VirtualServer) set(key, text string) (err error) {
	switch key {
	case "name":
		v.Name, err = parseName(text)
	case "listen":
		v.Listen, err = appendAddr(v.Listen, text)
	case "port":
		v.Port, err = parsePort(text)
	case "slow-start":
		v.SlowStart, err = parseInterval(text)
		if v.SlowStart > 0 && v.SlowStart < time.Second {
			err = errValue
		}
	default:
		v.Method = Method(text)
		if v.Method != RoundRobin && v.Method != SourceHash && v.Method != LeastSessions {
			err = errValue
		}
	}
	return err
}

func (v *VirtualServer) add(key string, m mapping) error {
	if key == "check" {
		return m.each(v.Check.set, nil)
	}
	s := Server{Weight: 1}
	if err := m.each(s.set, nil); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return m.at.wrong(err)
	}
	v.Servers = append(v.Servers, s)
	return nil
}

func (s *Server) set(key, text string) (err error) {
	switch key {
	case "name":
		s.Name, err = parseName(text)
	case "address":
		s.Addrs, err = appendAddr(s.Addrs, text)
	case "port":
		s.Port, err = parsePort(text)
	case "weight":
		s.Weight, err = parseNumber(text, 0, maxWeight)
	case "backup":
		s.Backup, err = parseToggle(text)
	default:
		s.Advertise, err = appendAddr(s.Advertise, text)
	}
	return err
}

func (k *Check) set(key, text string) (err error) {
	switch key {
	case "interval":
		k.Interval, err = parseInterval(text)
	case "timeout":
		k.Timeout, err = time.ParseDuration(text)
		if k.Timeout <= 0 {
			err = errValue
		}
	case "rise":
		k.Rise, err = parseNumber(text, 1, 100)
	case "fall":
		k.Fall, err = parseNumber(text, 1, 100)
	case "user":
		k.User, err = parsePrintable(text)
	default:
		k.Password, err = parsePrintable(text)
	}
	return err
}

func appendAddr(list []netip.Addr, text string) ([]netip.Addr, error) {
	a, err := parseUnicast(text)
	if err == nil && slices.Contains(list, a) {
		err = errValue
	}
	return append(list, a), err
}

// parseName accepts what nft parses as a part of a name, and no address.
func parseName(text string) (string, error) {
	for i := range len(text) {
		b := text[i]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		if !letter && (i == 0 || b != '_' && b != '-' && (b < '0' || b > '9')) {
			return "", errValue
		}
	}
	if text == "" || len(text) > maxServerName {
		return "", errValue
	}
	return text, nil
}

// parseInterval accepts YAML's words for off, which it parses as a boolean.
func parseInterval(text string) (time.Duration, error) {
	switch strings.ToLower(text) {
	case "off", "false", "no":
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && (d < 100*time.Millisecond || d > time.Hour) {
		err = errValue
	}
	return d, err
}

// parsePrintable keeps line ends out of a dialogue.
func parsePrintable(text string) (string, error) {
	if text == "" || len(text) > 64 || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return "", errValue
	}
	return text, nil
}
