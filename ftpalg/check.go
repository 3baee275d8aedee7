// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "strings"

// Checks is a set of checks that an offer has to pass, besides those that are
// always made: that it is a complete line of its own from the side that may send
// it, that it is well-formed, and that its port and address are permitted. The
// zero value stands for Normal; use NoChecks for none.
type Checks uint32

const (
	// CheckGreeting: the server must have begun with 220 or 120, or have
	// answered USER as an FTP server does. Only where the connection was seen
	// from its start.
	CheckGreeting Checks = 1 << iota
	// CheckFirstCommand: the client's first line must have been a command of
	// FTP. Only where the connection was seen from its start.
	CheckFirstCommand
	// CheckAsked: a reply that announces a port must answer PASV, EPSV or
	// LPSV.
	CheckAsked
	// CheckEPSVAll: after EPSV ALL no other command may announce or ask for a
	// port (RFC 2428 section 4).
	CheckEPSVAll
	// CheckLogin: the server must have accepted the user. Only where the
	// connection was seen from its start.
	CheckLogin
	// CheckAnswered: earlier commands must have been answered when an offer
	// is made or asked for.
	CheckAnswered
	// CheckLineEnd: an offer's line must end with CR LF.
	CheckLineEnd
	// CheckTrailing: at most eight characters may follow the numbers of a
	// reply.
	CheckTrailing
	// CheckServices: the port must not be that of a known service, such as a
	// database or a remote desktop.
	CheckServices
	// CheckPassiveAddress: the address in a reply must be the server's, either
	// its own or the one that the client sees.
	CheckPassiveAddress
	// CheckRepeats: retransmitted bytes must be the same; see ReasonChanged.
	CheckRepeats

	// NoChecks is the set without any check.
	NoChecks Checks = 1 << 31

	// Lenient makes none of the checks.
	Lenient = NoChecks
	// Normal makes the checks that cost legitimate users nothing.
	Normal = CheckGreeting | CheckFirstCommand | CheckAsked | CheckEPSVAll
	// Strict makes all checks.
	Strict = Normal | CheckLogin | CheckAnswered | CheckLineEnd | CheckTrailing | CheckServices |
		CheckPassiveAddress | CheckRepeats
)

// checkNames are the checks in the order of their bits.
var checkNames = [...]string{
	"greeting", "first-command", "asked", "epsv-all", "login", "answered", "line-end", "trailing",
	"services", "passive-address", "repeats",
}

// ParseCheck returns the check, or the preset (strict, normal, lenient), of
// this name.
func ParseCheck(name string) (Checks, bool) {
	switch name {
	case "strict":
		return Strict, true
	case "normal":
		return Normal, true
	case "lenient":
		return Lenient, true
	}
	for i, n := range checkNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// String returns the name of the preset, or those of the checks separated by
// commas.
func (k Checks) String() string {
	switch k {
	case 0, Normal:
		return "normal"
	case Strict:
		return "strict"
	case Lenient:
		return "lenient"
	}
	var names []string
	for i, n := range checkNames {
		if k.has(1 << i) {
			names = append(names, n)
		}
	}
	return strings.Join(names, ",")
}

func (k Checks) has(check Checks) bool { return k&check != 0 }

// knownService reports whether a port over 1023 is that of a service which gives
// away more than a file to anyone who can connect to it: databases, remote
// desktops and shells, management interfaces, file systems, proxies.
func knownService(port uint16) bool {
	switch port {
	case 1080, 1433, 1434, 1521, 1723, 2049, 2375, 2376, 2379, 2380, 3128, 3260, 3268, 3306, 3389,
		4369, 5060, 5061, 5432, 5672, 5984, 5985, 5986, 6379, 6443, 8080, 8443, 8500, 9042, 9092, 9200,
		9300, 10250, 11211, 15672, 27017, 27018, 27019:
		return true
	}
	return port >= 5900 && port <= 5910 || port >= 6000 && port <= 6063 // VNC, X11
}
