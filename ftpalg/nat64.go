// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"net/netip"
)

// An IPv6-only client reaches an IPv4-only server only through a packet
// translator (RFC 6146, RFC 7915), and the two speak different forms of FTP. RFC
// 6384 says how to translate each. A translator on this machine splits a session
// into two control connections, each with an engine of its own. They need not
// know one another: the IPv6 one checks what only it can know, that an EPRT names
// the client itself, and lets nothing else pass that the IPv4 one would believe;
// the IPv4 one translates. A command passes the checks first, and a reply is
// translated first, so that both ways are open before the far end can use them.

// EmbeddedLens are the lengths that the prefix of IPv6 addresses with embedded
// IPv4 addresses can have (RFC 6052 section 2.2).
var EmbeddedLens = [...]int{32, 40, 48, 56, 64, 96}

// role64 is the role of an engine on a connection through a translator.
type role64 uint8

const (
	not64        role64 = iota // no translator, or told to leave it alone
	checks64                   // the IPv6 connection of a translator on this machine
	translates64               // the only one, in IPv6: replies are translated here
	translates46               // the IPv4 connection: commands and replies are translated here
	off64                      // one of those two, after ALGS DISABLE64
)

func (r role64) translates() bool { return r == translates64 || r == translates46 }

var clat = netip.MustParsePrefix("192.0.0.0/29") // RFC 7335

// inside64 reports whether an address may be that of a program behind a
// translator of its own host.
func inside64(a netip.Addr) bool { return private(a) || clat.Contains(a) }

// told is what a client is told in place of the reply to a command.
type told uint8

const (
	toldAll     told = iota // the server's reply
	told229                 // 229 in place of 227
	told229Once             // the same for a command that may not have been given; see Continue
	told504
	told522
	toldNone
	toldEPSV
	toldEPSVEPRT
)

// is229 reports whether a 227 becomes 229.
func (t told) is229() bool { return t == told229 || t == told229Once }

// tellings are replies, in full and as short as possible, and the commands that
// they answer.
var tellings = [...]struct{ full, short, example string }{
	told504:      {"504 Command not implemented for that parameter.", "504 No such.", "ALGS"},
	told522:      {"522 Network protocol not supported, use (2).", "522 Use (2).", "EPSV 1"},
	toldNone:     {"216 NONE FTP translation is off.", "216 NONE", "ALGS DISABLE64"},
	toldEPSV:     {"216 EPSV FTP translation is on.", "216 EPSV", "ALGS ENABLE64"},
	toldEPSVEPRT: {"216 EPSVEPRT FTP translation is on.", "216 EPSVEPRT", "ALGS ENABLE64"},
}

const longestTold = len("216 EPSVEPRT") // of the short ones

// sized returns full if it fits into n bytes, otherwise short, padded with
// spaces.
func sized(n int, full, short string) []byte {
	if len(full) > n {
		full = short
	}
	return fit(full, "", n)
}

// fit returns head and tail, n bytes long if possible: head is padded with
// spaces, or cut after a word.
func fit(head, tail string, n int) []byte {
	text := []byte(head)
	for len(text)+len(tail) > n {
		i := bytes.LastIndexByte(bytes.TrimRight(text, " "), ' ')
		if i < 0 || tail == "" {
			break
		}
		text = text[:i+1]
	}
	for len(text)+len(tail) < n {
		text = append(text, ' ')
	}
	return append(text, tail...)
}

// role64 returns the role on a connection, and the translator.
func (p *Policy) role64(ep *Endpoints) (role64, *NAT64) {
	for i := range p.NAT64 {
		switch t := &p.NAT64[i]; {
		case t.Pool.IsValid() && t.Pool.Contains(ep.Client.Addr()):
			return translates46, t
		case !t.Prefix.Contains(ep.Dialled.Addr()):
		case t.Pool.IsValid():
			return checks64, t
		default:
			return translates64, t
		}
	}
	return not64, nil
}

// algs returns the answer to ALGS. Servers answer it, too, but do nothing.
func (c *terms) algs(arg []byte) told {
	role := c.nat64
	switch {
	case equalFold(arg, "STATUS64"):
	case equalFold(arg, "ENABLE64"):
		role, _ = c.policy.role64(&c.ep)
	case equalFold(arg, "DISABLE64"):
		role = off64
	default:
		return told504
	}
	switch role {
	case translates64:
		return toldEPSV
	case translates46:
		return toldEPSVEPRT
	}
	return toldNone
}
