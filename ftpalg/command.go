// SPDX-License-Identifier: Apache-2.0

package ftpalg

// command is what the engine needs to know of a client's command.
type command uint8

const (
	cmdOther command = iota
	cmdPORT
	cmdEPRT
	cmdPASV
	cmdEPSV
	cmdEPSVAll
	cmdTransfer // answered by 1xx and a final reply
	cmdAUTH
	cmdABOR
)

var commands = map[string]command{
	"PORT": cmdPORT, "EPRT": cmdEPRT, "PASV": cmdPASV, "EPSV": cmdEPSV,
	"AUTH": cmdAUTH, "ABOR": cmdABOR,
	"RETR": cmdTransfer, "STOR": cmdTransfer, "STOU": cmdTransfer, "APPE": cmdTransfer,
	"LIST": cmdTransfer, "NLST": cmdTransfer, "MLSD": cmdTransfer,
}

// verb is the name of a command in upper case, filled up with zero bytes. All
// commands of FTP have three or four letters.
type verb [4]byte

// parseCommand splits a client's line, without its line end, into command and
// argument. Verbs are matched in any case (RFC 959 section 5.3). arg is the
// offset of the argument in the line.
func parseCommand(line []byte) (cmd command, v verb, arg int) {
	i := skipTelnet(line)
	n := 0
	for ; i < len(line) && isLetter(line[i]); i++ {
		if n < len(v) {
			v[n] = line[i] &^ 0x20
		}
		n++
	}
	if n > len(v) || i < len(line) && line[i] != ' ' {
		return cmdOther, verb{}, i
	}
	for i < len(line) && line[i] == ' ' {
		i++
	}
	cmd = commands[string(v[:n])] // the compiler makes no string for a look-up
	if cmd == cmdEPSV && equalFold(trimRight(line[i:]), "ALL") {
		cmd = cmdEPSVAll
	}
	return cmd, v, i
}

// mayBeOffer reports whether a client's line that starts with b may turn out
// to be PORT or EPRT.
func mayBeOffer(b []byte) bool {
	b = b[skipTelnet(b):]
	return hasPrefixFold("PORT ", b) || hasPrefixFold("EPRT ", b)
}

func mayBeAUTH(b []byte) bool { return hasPrefixFold("AUTH ", b[skipTelnet(b):]) }

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

func trimRight(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func isLetter(c byte) bool { return (c|0x20)-'a' < 26 }
