// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/rules"
)

const (
	// maxSocketPath is sun_path of <linux/un.h> without its final zero.
	maxSocketPath = 107

	// maxTable leaves room for what is appended to the name in set names and
	// comments, which nft limits to 128 bytes (NFTNL_UDATA_COMMENT_MAXLEN).
	maxTable = 64
)

// parseNumber reads a decimal number from low to high.
func parseNumber(v string, low, high int) (int, error) {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || int(n) < low || int(n) > high {
		return 0, errValue
	}
	return int(n), nil
}

// parsePort reads a port from 1 to 65535.
func parsePort(v string) (uint16, error) {
	n, err := parseNumber(v, 1, 65535)
	return uint16(n), err
}

// parsePortRange reads LOW-HIGH.
func parsePortRange(v string) (rules.PortRange, error) {
	low, high, ok := strings.Cut(v, "-")
	if !ok {
		return rules.PortRange{}, errValue
	}
	first, err1 := parsePort(strings.TrimSpace(low))
	last, err2 := parsePort(strings.TrimSpace(high))
	if err1 != nil || err2 != nil {
		return rules.PortRange{}, errValue
	}
	if first > last {
		return rules.PortRange{}, &wantError{fmt.Sprintf("the lower port first: %d-%d", last, first)}
	}
	return rules.PortRange{Low: first, High: last}, nil
}

// addPorts reads a list of ports and ranges.
func addPorts(c *Config, v string) (err error) {
	c.Ports, err = appendPorts(c.Ports, v)
	return err
}

func addTLSPorts(c *Config, v string) (err error) {
	c.TLSPorts, err = appendPorts(c.TLSPorts, v)
	return err
}

func appendPorts(list []rules.PortRange, v string) ([]rules.PortRange, error) {
	for item := range strings.SplitSeq(v, ",") {
		item = strings.TrimSpace(item)
		if strings.Contains(item, "-") {
			r, err := parsePortRange(item)
			if err != nil {
				return list, err
			}
			list = append(list, r)
			continue
		}
		p, err := parsePort(item)
		if err != nil {
			return list, err
		}
		list = append(list, rules.PortRange{Low: p, High: p})
	}
	return list, nil
}

func setControlSocket(c *Config, v string) error {
	if len(v) > maxSocketPath || strings.ContainsRune(v, 0) {
		return errValue
	}
	c.ControlSocket = v
	return nil
}

func setMetrics(c *Config, v string) error {
	if v != "" {
		_, port, err := net.SplitHostPort(v)
		if err != nil {
			return errValue
		}
		// Port 0 means any free one; the daemon logs which.
		if _, err := parseNumber(port, 0, 65535); err != nil {
			return errValue
		}
	}
	c.Metrics = v
	return nil
}

// addAllow parses one way of --allow. Ways cannot be mixed, but the chains of
// several "chain=" add up.
func addAllow(c *Config, v string) error {
	kind, list, isChain := AllowKind(v), "", false
	if list, isChain = strings.CutPrefix(v, "chain="); isChain {
		kind = AllowChain
	}
	if kind != AllowRelated && kind != AllowMark && !isChain {
		return errValue
	}
	if c.Allow != "" && c.Allow != kind {
		return &wantError{fmt.Sprintf("one way only, and %q was given before", c.Allow)}
	}
	c.Allow = kind
	if !isChain {
		return nil
	}
	for item := range strings.SplitSeq(list, ",") {
		ref, err := rules.ParseChainRef(strings.TrimSpace(item))
		if err != nil {
			return errValue
		}
		if !slices.Contains(c.Chains, ref) {
			c.Chains = append(c.Chains, ref)
		}
	}
	return nil
}

// addAdvertise reads a list of INSIDE=OUTSIDE.
func addAdvertise(c *Config, v string) error {
	for item := range strings.SplitSeq(v, ",") {
		in, out, ok := strings.Cut(item, "=")
		if !ok {
			return errValue
		}
		inside, err := parseUnicast(in)
		if err != nil {
			return err
		}
		outside, err := parseOutside(strings.TrimSpace(out), inside.Is4())
		if err != nil {
			return err
		}
		if before, ok := c.Advertise[inside]; ok && before != outside {
			return &wantError{fmt.Sprintf("one address for %v, and %v was given before", inside, before)}
		}
		if c.Advertise == nil {
			c.Advertise = make(map[netip.Addr]Outside)
		}
		c.Advertise[inside] = outside
	}
	return nil
}

// parseOutside parses an address of a family, or where to find one.
func parseOutside(v string, is4 bool) (Outside, error) {
	if name, ok := strings.CutPrefix(v, interfacePrefix); ok {
		if name == "" || len(name) >= unix.IFNAMSIZ || name == "." || name == ".." || strings.ContainsFunc(name, notInInterface) {
			return Outside{}, &wantError{fmt.Sprintf("%s and the name of an interface of at most %d bytes", interfacePrefix, unix.IFNAMSIZ-1)}
		}
		return Outside{Interface: name}, nil
	}
	if a, err := parseUnicast(v); err == nil {
		if a.Is4() != is4 {
			return Outside{}, errValue
		}
		return Outside{Addr: a}, nil
	}
	if !isHostName(v) {
		return Outside{}, errValue
	}
	return Outside{Name: strings.ToLower(v)}, nil
}

// notInInterface are the characters that the kernel does not allow in the name of
// an interface, and separators here.
func notInInterface(r rune) bool {
	return r <= ' ' || r == '/' || r == ':' || r == ',' || r == '=' || r > '~'
}

// isHostName reports whether a name may be a DNS name, and is not meant to be an
// address.
func isHostName(v string) bool {
	labels := strings.Split(strings.TrimSuffix(v, "."), ".")
	for _, l := range labels {
		for i := range len(l) {
			b := l[i]
			letter := b|0x20 >= 'a' && b|0x20 <= 'z' || b == '_'
			if !letter && (b < '0' || b > '9') && (b != '-' || i == 0 || i == len(l)-1) {
				return false
			}
		}
		if l == "" || len(l) > 63 {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(v) <= 253 && strings.Trim(last, "0123456789") != ""
}

// parseUnicast parses an address that a host can have.
func parseUnicast(v string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(v))
	a = a.Unmap()
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, errValue
	}
	return a, nil
}

func advertiseText(c Config) []string {
	var list []string
	for in, out := range c.Advertise {
		list = append(list, fmt.Sprintf("%v=%v", in, out))
	}
	slices.Sort(list)
	return list
}

func setPinholeTimeout(c *Config, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < time.Millisecond || d > MaxPinholeTimeout {
		return errValue
	}
	c.PinholeTimeout = d
	return nil
}

// durationText is d.String() without trailing zeros.
func durationText(d time.Duration) string {
	if d < time.Hour && d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return d.String()
}

func setTLS(c *Config, v string) error {
	c.TLSRange = rules.PortRange{}
	if ports, ok := strings.CutPrefix(v, "range="); ok {
		r, err := parsePortRange(ports)
		if err != nil {
			return err
		}
		c.TLS, c.TLSRange = TLSRange, r
		return nil
	}
	if k := TLSKind(v); k == TLSPass || k == TLSDeny || k == TLSRequire {
		c.TLS = k
		return nil
	}
	return errValue
}

// setTable accepts the identifiers that nft reads without quotes (scanner.l),
// except '/', which separates the parts of a chain's name here.
func setTable(c *Config, v string) error {
	if v == "" || len(v) > maxTable {
		return errValue
	}
	for i := range len(v) {
		b := v[i]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_'
		other := b >= '0' && b <= '9' || b == '-' || b == '.'
		if !letter && (i == 0 || !other) {
			return errValue
		}
	}
	c.Table = v
	return nil
}

func setCTMark(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 0, 32)
	if err != nil || bits.OnesCount64(n) != 2 {
		return errValue
	}
	c.CTMark = uint32(n)
	return nil
}

func setLogLevel(c *Config, v string) error {
	for _, e := range levels {
		if v == e.name {
			c.LogLevel = e.level
			return nil
		}
	}
	return errValue
}

func setXferlog(c *Config, v string) error {
	if v != "" && !filepath.IsAbs(v) {
		return errValue
	}
	c.Xferlog = v
	return nil
}

// parseToggle parses on or off, or YAML's words for them.
func parseToggle(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "on", "true", "yes":
		return true, nil
	case "off", "false", "no":
		return false, nil
	}
	return false, errValue
}

func portNames(ports []rules.PortRange) []string {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = p.String()
	}
	return list
}
