// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// command is the kind of a client's command, as far as it matters to the engine.
type command uint8

const (
	cmdUnknown command = iota // not an FTP command
	cmdOther
	cmdPORT
	cmdEPRT
	cmdLPRT
	cmdPASV
	cmdEPSV
	cmdLPSV
	cmdEPSVAll
	cmdTransfer // answered by 1xx and a final reply
	cmdAUTH     // AUTH, and ADAT which continues it (RFC 2228 section 3)
	cmdUSER
	cmdPASS // PASS and ACCT, which end a login
	cmdREIN
	cmdQUIT
	cmdMany // not a command: an entry of pending that stands for many
)

// commands are those of the registry of RFC 5797, their X forms of RFC 775, and
// some that common programs use without a document.
var commands = map[string]command{
	"PORT": cmdPORT, "EPRT": cmdEPRT, "LPRT": cmdLPRT,
	"PASV": cmdPASV, "EPSV": cmdEPSV, "LPSV": cmdLPSV, "SPSV": cmdPASV, "CPSV": cmdPASV, disguisedPASV: cmdPASV,
	"AUTH": cmdAUTH, "ADAT": cmdAUTH,
	"USER": cmdUSER, "PASS": cmdPASS, "ACCT": cmdPASS, "REIN": cmdREIN, "QUIT": cmdQUIT,
	"RETR": cmdTransfer, "STOR": cmdTransfer, "STOU": cmdTransfer, "APPE": cmdTransfer,
	"LIST": cmdTransfer, "NLST": cmdTransfer, "MLSD": cmdTransfer,

	"ABOR": cmdOther, "ALGS": cmdOther, "ALLO": cmdOther, "CCC": cmdOther, "CDUP": cmdOther,
	"CLNT": cmdOther, "CONF": cmdOther, "CSID": cmdOther, "CWD": cmdOther, "DELE": cmdOther,
	"ENC": cmdOther, "FEAT": cmdOther, "HASH": cmdOther, "HELP": cmdOther, "HOST": cmdOther,
	"LANG": cmdOther, "MDTM": cmdOther, "MFCT": cmdOther, "MFF": cmdOther, "MFMT": cmdOther,
	"MIC": cmdOther, "MKD": cmdOther, "MLST": cmdOther, "MODE": cmdOther, "NOOP": cmdOther,
	"OPTS": cmdOther, "PBSZ": cmdOther, "PROT": cmdOther, "PWD": cmdOther, "REST": cmdOther,
	"RMD": cmdOther, "RNFR": cmdOther, "RNTO": cmdOther, "SITE": cmdOther, "SIZE": cmdOther,
	"SMNT": cmdOther, "STAT": cmdOther, "STRU": cmdOther, "SYST": cmdOther, "TYPE": cmdOther,
	"XCRC": cmdOther, "XCUP": cmdOther, "XCWD": cmdOther, "XMKD": cmdOther, "XPWD": cmdOther,
	"XRMD": cmdOther, "OPEN": cmdOther, "XAUT": cmdOther, "ESTA": cmdOther, "ESTP": cmdOther,
	"COMB": cmdOther, "AVBL": cmdOther, "DSIZ": cmdOther, "THMB": cmdOther, "RANG": cmdOther,
}

// disguisedPASV is PASV to some servers, for clients that hide it from a
// translator.
const disguisedPASV = "P@SW"

func (c command) active() bool { return c == cmdPORT || c == cmdEPRT || c == cmdLPRT }

func isPassive(c command) bool  { return c == cmdPASV || c == cmdEPSV || c == cmdLPSV }
func isTransfer(c command) bool { return c == cmdTransfer }
func isAUTH(c command) bool     { return c == cmdAUTH }

// answeredBy reports whether a final reply with this code, other than 227 to 229,
// can be the answer to the command (RFC 959 section 5.4). It is narrow only where
// a reply that belongs to an earlier command would do harm.
func (c command) answeredBy(code int) bool {
	switch {
	case isPassive(c):
		return code >= 400 && code != 426
	case c.active():
		return code == 200 || code == 202 || code >= 400 && code != 426
	}
	return true
}

// verb is the name of a command in upper case, padded with zero bytes. All FTP
// commands have three or four letters.
type verb [4]byte

func (v *verb) bytes() []byte {
	n := len(v)
	for n > 0 && v[n-1] == 0 {
		n--
	}
	return v[:n]
}

// parseVerb reads the letters at the start of a line. n is their number; with
// more than four it is not a command.
func parseVerb(line []byte) (cmd command, v verb, n int) {
	for ; n < len(line) && (isLetter(line[n]) || line[n] == '@'); n++ {
		if n < len(v) {
			v[n] = line[n] &^ 0x20
		}
	}
	if n > len(v) {
		return cmdUnknown, verb{}, n
	}
	return commands[string(v[:n])], v, n // the compiler makes no string for a look-up
}

// parseCommand splits a client's line, without its line end and Telnet commands,
// into command and argument. Verbs are matched in any case (RFC 959 section 5.3);
// for many servers the line ends at a NUL. arg is the offset of the argument in
// the line.
func parseCommand(line []byte) (cmd command, v verb, arg int) {
	line = bytes.TrimRight(line, "\r\x00")
	cmd, v, i := parseVerb(line)
	if i < len(line) && !isBlank(line[i]) {
		return cmdUnknown, verb{}, i
	}
	i += skipBlanks(line[i:])
	if cmd == cmdEPSV && equalFold(trimBlanks(line[i:]), "ALL") {
		cmd = cmdEPSVAll
	}
	return cmd, v, i
}

// mayBeOffer reports whether a client's line that starts with b may turn out
// to be PORT, EPRT or LPRT.
func mayBeOffer(b []byte) bool {
	for _, verb := range [...]string{"PORT", "EPRT", "LPRT"} {
		if hasPrefixFold(verb, b) {
			return len(b) <= len(verb) || isBlank(b[len(verb)])
		}
	}
	return false
}

// hasPrefixFold reports whether one of verb and b is the start of the other,
// in any case of letters.
func hasPrefixFold(verb string, b []byte) bool {
	return equalFold(b[:min(len(b), len(verb))], verb[:min(len(b), len(verb))])
}

// equalFold compares with an upper-case ASCII string.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if isLetter(c) {
			c &^= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return (c|0x20)-'a' < 26 }

// mayBe reports whether a line that starts with b may turn out to be the
// command verb.
func mayBe(verb string, b []byte) bool {
	return hasPrefixFold(verb, b) && (len(b) <= len(verb) || !isLetter(b[len(verb)]))
}
