// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Reason says why a segment or an offer was treated as it was. Each has a
// name for logs and metrics.
type Reason uint8

const (
	// ReasonPlain: nothing in the segment concerns a data connection.
	ReasonPlain Reason = iota
	// ReasonRetransmission: the segment was seen before, and is forwarded as it was then.
	ReasonRetransmission
	// ReasonOpaque: the connection is encrypted (RFC 4217), and not read.
	ReasonOpaque
	// ReasonPartial: held until its line, which may need editing, is complete.
	ReasonPartial
	// ReasonPieces: a line that may need editing comes in small pieces; this one is
	// acknowledged, and forwarded with the last.
	ReasonPieces
	// ReasonHeldTwice: a copy of a held segment; dropped.
	ReasonHeldTwice
	// ReasonGap: bytes before the segment were not seen; dropped, and its sender repeats
	// both.
	ReasonGap
	// ReasonAhead: bytes before the segment were not seen, and it depends on none of them;
	// forwarded.
	ReasonAhead
	// ReasonResync: bytes were missed that their receiver has; reading continues at the
	// next line.
	ReasonResync
	// ReasonTooOld: a repetition from before the edits that are kept; dropped.
	ReasonTooOld
	// ReasonOffered: an offer of its sender's own address.
	ReasonOffered
	// ReasonTranslated: an offer that already has the address that the other side sees.
	ReasonTranslated
	// ReasonRepaired: an offer whose address was replaced by its sender's own.
	ReasonRepaired
	// ReasonForeignText: a passive offer of another address; opened to the control
	// connection's server, text unchanged.
	ReasonForeignText
	// ReasonThirdParty: an offer for a third host, which the policy permits.
	ReasonThirdParty
	// ReasonForeignAddress: an offer for a third host (bounce, FXP); in replies only with
	// the check passive-address.
	ReasonForeignAddress
	// ReasonPortZero: an offer of port 0.
	ReasonPortZero
	// ReasonPortLow: an offer of a port below min-data-port.
	ReasonPortLow
	// ReasonSyntax: an offer that cannot be read.
	ReasonSyntax
	// ReasonOctet: an offer with a number over 255.
	ReasonOctet
	// ReasonFamily: an offer for another address family than the control connection's.
	ReasonFamily
	// ReasonUnasked: a 227, 228 or 229 that answers no command (check asked).
	ReasonUnasked
	// ReasonEPSVAll: an offer by another verb after EPSV ALL (RFC 2428 section 4; check
	// epsv-all).
	ReasonEPSVAll
	// ReasonRejected: the server answered PORT, EPRT or LPRT with an error; the pinhole
	// is closed.
	ReasonRejected
	// ReasonSplit: the offer's text had to change, but a part of it had been forwarded.
	ReasonSplit
	// ReasonNoAdjust: the offer's text had to change its length, but sequence numbers
	// cannot be adjusted.
	ReasonNoAdjust
	// ReasonNotFTP: the client's first line is no command of FTP (check first-command);
	// nothing is read any more.
	ReasonNotFTP
	// ReasonStartUnseen: the client's first bytes were not seen, or the server says so, in
	// a connection seen from its start.
	ReasonStartUnseen
	// ReasonLineStart: an offer in a line whose start is not known; its numbers are
	// translated all the same.
	ReasonLineStart
	// ReasonFarAway: a segment so far from the sequence numbers of its connection that its
	// receiver does not take it; dropped.
	ReasonFarAway
	// ReasonLineTooLong: a line over the limit; its rest is not read.
	ReasonLineTooLong
	// ReasonTLSDenied: AUTH was made to fail.
	ReasonTLSDenied
	// ReasonNoGreeting: an offer in a connection whose server did not begin as FTP servers
	// do (check greeting).
	ReasonNoGreeting
	// ReasonNotLoggedIn: an offer before the server accepted the user (check login).
	ReasonNotLoggedIn
	// ReasonPipelined: an offer made or asked for while an earlier command was unanswered
	// (check answered).
	ReasonPipelined
	// ReasonLineEnd: an offer whose line does not end with CR LF (check line-end).
	ReasonLineEnd
	// ReasonTrailing: an offer with much text behind its numbers (check trailing).
	ReasonTrailing
	// ReasonService: an offer of the port of a known service (check services).
	ReasonService
	// ReasonControlPort: a passive offer of the control connection's own port.
	ReasonControlPort
	// ReasonChanged: bytes sent again are not the same (check repeats); dropped.
	ReasonChanged
	// ReasonTooMany: an offer behind too many unanswered commands, or too far from another
	// in its segment.
	ReasonTooMany
	// ReasonRate: more offers in a minute than max-offers.
	ReasonRate
	// ReasonTelnet: an offer with Telnet commands in its text.
	ReasonTelnet
	// ReasonInFlight: an earlier edit has not arrived, and both cannot be adjusted for; a
	// segment is dropped, an offer refused.
	ReasonInFlight
	// ReasonCommandDenied: a denied command, or one that is not allowed, was made to fail
	// (deny-command, commands); of an offer: only such commands ask for it.
	ReasonCommandDenied
	// ReasonClosing: the server ended its service (421); the pinhole is closed.
	ReasonClosing
	// ReasonNoConnection: the server could not open the data connection (425); the
	// pinhole is closed.
	ReasonNoConnection
	// ReasonReset: the client began another login, or REIN; the pinhole is closed.
	ReasonReset
	// ReasonQuit: the client ended the session; the pinhole is closed.
	ReasonQuit
	// ReasonMode: a command for a mode that is not among modes was made to fail; of an
	// offer: nothing asked for it.
	ReasonMode
	// ReasonFamilyDenied: the same, for the control connection's address family
	// (families).
	ReasonFamilyDenied
	// ReasonPortRange: an offer of a port outside data-ports.
	ReasonPortRange
	// ReasonTLSRequired: a login in the clear was made to fail (tls require).
	ReasonTLSRequired
	// ReasonAnonymous: a login was made to fail because it is anonymous, or is not
	// (anonymous).
	ReasonAnonymous
	// ReasonLength: a command was made to fail because of its length (max-line,
	// max-argument, max-path).
	ReasonLength
	// ReasonFileDenied: a command was made to fail because of the file that it names
	// (files).
	ReasonFileDenied
	// NumReasons is the number of reasons, for tables of counters.
	NumReasons
)

var reasonNames = [NumReasons]string{
	ReasonPlain:          "plain",
	ReasonRetransmission: "retransmission",
	ReasonOpaque:         "opaque",
	ReasonPartial:        "partial-line",
	ReasonPieces:         "line-in-pieces",
	ReasonHeldTwice:      "held-twice",
	ReasonGap:            "gap",
	ReasonAhead:          "ahead",
	ReasonResync:         "resync",
	ReasonTooOld:         "too-old",
	ReasonOffered:        "offered",
	ReasonTranslated:     "already-translated",
	ReasonRepaired:       "repaired",
	ReasonForeignText:    "foreign-text",
	ReasonThirdParty:     "third-party",
	ReasonForeignAddress: "foreign-address",
	ReasonPortZero:       "port-zero",
	ReasonPortLow:        "port-below-minimum",
	ReasonSyntax:         "syntax",
	ReasonOctet:          "number-over-255",
	ReasonFamily:         "address-family",
	ReasonUnasked:        "unasked-reply",
	ReasonEPSVAll:        "epsv-all",
	ReasonRejected:       "rejected-by-server",
	ReasonSplit:          "split-line",
	ReasonNoAdjust:       "cannot-adjust",
	ReasonNotFTP:         "not-ftp",
	ReasonStartUnseen:    "start-not-seen",
	ReasonLineStart:      "line-start-unknown",
	ReasonFarAway:        "far-away",
	ReasonLineTooLong:    "line-too-long",
	ReasonTLSDenied:      "tls-denied",
	ReasonNoGreeting:     "no-greeting",
	ReasonNotLoggedIn:    "not-logged-in",
	ReasonPipelined:      "not-answered",
	ReasonLineEnd:        "line-end",
	ReasonTrailing:       "text-behind",
	ReasonService:        "known-service",
	ReasonControlPort:    "control-port",
	ReasonChanged:        "changed-repeat",
	ReasonTooMany:        "too-many-lines",
	ReasonRate:           "too-many-offers",
	ReasonTelnet:         "telnet-inside",
	ReasonInFlight:       "edit-in-flight",
	ReasonCommandDenied:  "command-denied",
	ReasonClosing:        "service-closing",
	ReasonNoConnection:   "no-data-connection",
	ReasonReset:          "login-reset",
	ReasonQuit:           "quit",
	ReasonMode:           "mode-denied",
	ReasonFamilyDenied:   "family-denied",
	ReasonPortRange:      "port-out-of-range",
	ReasonTLSRequired:    "tls-required",
	ReasonAnonymous:      "anonymous-denied",
	ReasonLength:         "length-denied",
	ReasonFileDenied:     "file-denied",
}

// String returns the name of the reason as it stands in logs and metrics.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return "unknown"
}
