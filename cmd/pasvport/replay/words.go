// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pasvport/pasvport/ftpalg"
)

// words replaces personal data in lines of FTP: everything but the words below.
type words struct {
	addrs   *addresses
	secrets map[string]bool // arguments that clients gave, in lower case
}

func newWords(a *addresses) *words { return &words{a, map[string]bool{}} }

// Commands by how their arguments are treated. Those of all others are replaced,
// and so is an unknown command.
var (
	plainCommands = set(`ABOR ALLO AUTH CCC CDUP EPSV FEAT LANG LPSV MODE NOOP OPTS PASV PBSZ PORT EPRT LPRT PROT PWD QUIT REIN REST
		STRU SYST TYPE XCUP XPWD`)
	otherCommands = set(`ACCT ADAT APPE AVBL CLNT COMB CSID CWD DELE DSIZ ESTA ESTP HASH HELP HOST LIST MDTM MFCT MFF MFMT MIC MKD MLSD MLST
		NLST PASS RANG RETR RMD RMDA RNFR RNTO SITE SIZE SMNT STAT STOR STOU THMB USER XCRC XCWD XMD5 XMKD XRMD XSHA XSHA1`)
)

// known are words of FTP, and of servers' replies.
var known = set(`a abort aborted aborting about absolute accept accepted access account active actually address all allowed already
	an and anonymous any append are arguments as ascii at auth available bad be been before begin begins best binary block build but by bye
	byte bytes can cannot cant change changed characters charset clear client close closed closing code command commands complete completed
	connect connected connection connections control could create created current currently data date default delete deleted denied denying
	destination details did directory disabled disconnect do does done double due during e e-mail eight email enabled encrypted end enough
	enter entering epsv eprt equivalent error exceeded exist exists expected expired extended extensions facts fail failed failure features
	file filename files find first follow following follows for format found free from ftp ftpd full get given go goodbye granted greeting
	guest has have help here host idle if ignored illegal image implemented in incorrect information input internal into invalid is it its
	kerberos kind large last later limit line lines list listing local logged login logout long made make many may maximum message minutes
	mismatch missing mode modification modify more must my name need needed negotiation new no nonexistent non-print not nothing now number of
	off ok okay on one only open opened opening operation option options or other out over own page parameter parameters parent parse
	passive passwd password path pathname pending perm permission permitted please plus port preliminary proceed processing protected
	protection protocol quit quota read ready received reconnect refused removed renamed rename reply request requested require required
	requires reset resource rest restart restarting restrictions retry root say secs second seconds security send sending sent server service
	session set shutting site size space specify speed standard start started starting status stor storage store stored stream structure
	success successful successfully superfluous support supported supports syntax system take taken terminated text that the there this time
	timed timeout timestamp tls to token too transfer transferred try tried type unavailable unable understood unix unknown unless
	unrecognized unsupported until unused up upload use used user username using utf utf8 valid value via wait was we welcome were will windows with
	without write writing wrong you your zero l8 nt`)

func set(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// scrub replaces what has to be replaced in a line, in place. whole says that its
// start is there.
func (w *words) scrub(d ftpalg.Direction, b []byte, whole bool) {
	switch {
	case !whole:
		w.blank(b, false)
	case d == ftpalg.Original:
		w.command(b[telnet(b):])
	default:
		w.reply(b)
	}
}

// isTLS reports whether the first byte of a line is that of a TLS record (RFC
// 8446 section 5.1). No line of FTP begins with it.
func isTLS(b byte) bool { return b >= 20 && b <= 24 }

// telnet is the length of the Telnet commands before a line.
func telnet(b []byte) int {
	const iac = 255
	n := 0
	for n+1 < len(b) && b[n] == iac {
		n += 2
	}
	return n
}

// blank replaces everything but separators. learn remembers what was there.
func (w *words) blank(b []byte, learn bool) {
	if learn {
		for _, f := range append(bytes.FieldsFunc(b, separates), bytes.Fields(b)...) {
			if len(f) > 1 {
				w.secrets[strings.ToLower(string(f))] = true
			}
		}
	}
	for i, c := range b {
		if !separates(rune(c)) {
			b[i] = 'x'
		}
	}
}

// separates reports whether a character only separates words and parts of names.
func separates(r rune) bool { return strings.ContainsRune(" \t\r\n/.,", r) }

func (w *words) command(b []byte) {
	end := bytes.IndexAny(b, " \t\r\n")
	if end < 0 {
		end = len(b)
	}
	verb := strings.ToUpper(string(b[:end]))
	switch {
	case plainCommands[verb]:
		w.addresses(b[end:])
	case otherCommands[verb]:
		w.blank(b[end:], true)
	default:
		w.blank(b, true)
	}
}

// token matches a word of a reply, with adjacent punctuation.
var token = regexp.MustCompile(`[^ \t\r\n]+`)

func (w *words) reply(b []byte) {
	w.addresses(b)
	for _, at := range token.FindAllIndex(b, -1) {
		t := b[at[0]:at[1]]
		core := strings.ToLower(strings.Trim(string(t), `()[]<>"'.,:;!?-*=`))
		if w.mayStay(core) {
			continue
		}
		for i, c := range t {
			if c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
				t[i] = 'x'
			}
		}
	}
}

// mayStay reports whether a word of a reply belongs to FTP, or is a number.
func (w *words) mayStay(word string) bool {
	upper := strings.ToUpper(word)
	switch {
	case w.secrets[word]:
		return false
	case known[word], plainCommands[upper], otherCommands[upper]:
		return true
	case strings.Trim(word, `0123456789,.|()-:/%+`) == "":
		return true
	case isAddress(word):
		return true
	}
	// The start of a reply of several lines: "230-Welcome".
	code, rest, ok := strings.Cut(word, "-")
	return ok && len(code) == 3 && strings.Trim(code, "0123456789") == "" && w.mayStay(rest)
}

// isAddress reports whether a word is an IPv6 address, alone or as in EPRT.
func isAddress(word string) bool {
	return !slices.ContainsFunc(strings.FieldsFunc(word, func(r rune) bool { return r == '|' }), func(s string) bool {
		_, err := netip.ParseAddr(s)
		_, number := strconv.Atoi(s)
		return err != nil && number != nil
	})
}

// Addresses in the forms that FTP and people use.
var (
	octets  = regexp.MustCompile(`\b(\d{1,3})([.,])(\d{1,3})([.,])(\d{1,3})([.,])(\d{1,3})\b`)
	long4   = regexp.MustCompile(`\b4,4,(\d{1,3},\d{1,3},\d{1,3},\d{1,3}),2,`)
	long6   = regexp.MustCompile(`\b6,16,((?:\d{1,3},){15}\d{1,3}),2,`)
	hextets = regexp.MustCompile(`[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*`)
)

// addresses replaces the addresses in a text.
func (w *words) addresses(b []byte) {
	if m := long6.FindSubmatchIndex(b); m != nil { // no other one has the same length
		for i := m[2]; i < m[3]; i++ {
			if b[i] != ',' {
				b[i] = '0'
			}
		}
		return
	}
	if m := long4.FindSubmatchIndex(b); m != nil {
		w.quad(b[m[2]:m[3]])
		return
	}
	for _, m := range octets.FindAllIndex(b, -1) {
		w.quad(b[m[0]:m[1]])
	}
	for _, m := range hextets.FindAllIndex(b, -1) {
		w.colons(b[m[0]:m[1]])
	}
}

// quad replaces an IPv4 address, with dots or commas.
func (w *words) quad(b []byte) {
	parts := strings.FieldsFunc(string(b), func(r rune) bool { return r == '.' || r == ',' })
	var a [4]byte
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return // not an address
		}
		a[i] = byte(n)
	}
	other, at := w.addrs.of(netip.AddrFrom4(a)).As4(), 0
	for i, p := range parts {
		at += copy(b[at:], padded(int(other[i]), 10, p)) + 1
	}
}

// colons replaces an IPv6 address, each number by one of the same length.
func (w *words) colons(b []byte) {
	a, err := netip.ParseAddr(string(b))
	if err != nil || !a.Is6() {
		return
	}
	other := w.addrs.of(a).As16()
	parts := strings.Split(string(b), ":")
	gap := slices.Index(parts[:max(len(parts)-1, 0)], "")
	at := 0
	for i, p := range parts {
		if p != "" {
			n := i
			if gap >= 0 && i > gap {
				n = 8 - (len(parts) - i)
			}
			copy(b[at:], padded(int(binary.BigEndian.Uint16(other[2*n:])), 16, p))
		}
		at += len(p) + 1
	}
}
