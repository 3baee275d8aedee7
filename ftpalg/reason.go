// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Reason says why a segment or an offer was treated as it was. Each has a
// name for logs and metrics.
type Reason uint8

const (
	// ReasonPlain: nothing in the segment concerns a data connection.
	ReasonPlain Reason = iota
	// ReasonRetransmission: the segment was seen before and is forwarded as
	// it was then.
	ReasonRetransmission
	// ReasonOpaque: the connection is encrypted (RFC 4217) and not read.
	ReasonOpaque
	// ReasonPartial: a line that may have to be edited is not complete; the
	// segment is held.
	ReasonPartial
	// ReasonPieces: a line that may have to be edited comes in small pieces;
	// this one is acknowledged to its sender and goes on with the last.
	ReasonPieces
	// ReasonHeldTwice: a copy of a segment that is being held.
	ReasonHeldTwice
	// ReasonGap: bytes before the segment were not seen; the sender will
	// repeat both.
	ReasonGap
	// ReasonResync: bytes were missed for good; reading goes on at the next
	// line.
	ReasonResync
	// ReasonTooOld: a retransmission from before the edits that are kept.
	ReasonTooOld
	// ReasonOffered: an offer whose address is its sender's own.
	ReasonOffered
	// ReasonTranslated: an offer that already names the address that the
	// other side sees.
	ReasonTranslated
	// ReasonRepaired: an offer whose address was replaced by that of the
	// control connection's peer.
	ReasonRepaired
	// ReasonForeignText: a passive offer that names another address; opened
	// to the control connection's server, text unchanged.
	ReasonForeignText
	// ReasonThirdParty: an offer for a third host that the policy believes.
	ReasonThirdParty
	// ReasonForeignAddress: an active offer for a third host (bounce, FXP).
	ReasonForeignAddress
	// ReasonPortZero: an offer of port 0.
	ReasonPortZero
	// ReasonPortLow: an offer of a port under the policy's minimum.
	ReasonPortLow
	// ReasonSyntax: an offer that could not be read.
	ReasonSyntax
	// ReasonOctet: an offer with a number over 255.
	ReasonOctet
	// ReasonFamily: an offer for another address family than the control
	// connection's.
	ReasonFamily
	// ReasonUnasked: a 227 or 229 that answers no PASV or EPSV.
	ReasonUnasked
	// ReasonEPSVAll: an offer by another verb after EPSV ALL (RFC 2428
	// section 4).
	ReasonEPSVAll
	// ReasonRejected: the server answered PORT or EPRT with an error.
	ReasonRejected
	// ReasonSplit: the offer's text had to change but a part of it was
	// forwarded before.
	ReasonSplit
	// ReasonNoAdjust: the offer's text had to change its length and the
	// connection's sequence numbers cannot be adjusted.
	ReasonNoAdjust
	// ReasonNotFTP: the client's first line was not a command of FTP.
	ReasonNotFTP
	// ReasonStartUnseen: the client's first bytes were not seen, in a connection
	// that was seen from its start.
	ReasonStartUnseen
	// ReasonLineStart: an offer in a line of which it is not known where it
	// starts.
	ReasonLineStart
	// ReasonFarAway: a segment whose numbers are far from those of its
	// connection.
	ReasonFarAway
	// ReasonLineTooLong: a line over the limit; its rest was not read.
	ReasonLineTooLong
	// ReasonTLSDenied: AUTH was made to fail.
	ReasonTLSDenied
	// ReasonNoGreeting: an offer in a connection whose server did not begin as
	// an FTP server does.
	ReasonNoGreeting
	// ReasonNotLoggedIn: an offer before the server accepted the user.
	ReasonNotLoggedIn
	// ReasonPipelined: an offer made or asked for while an earlier command
	// was unanswered.
	ReasonPipelined
	// ReasonLineEnd: an offer whose line does not end with CR LF.
	ReasonLineEnd
	// ReasonTrailing: an offer with much text behind its numbers.
	ReasonTrailing
	// ReasonService: an offer of the port of a known service.
	ReasonService
	// ReasonControlPort: a passive offer of the port of the control connection
	// itself.
	ReasonControlPort
	// ReasonChanged: bytes that were sent again are not the same.
	ReasonChanged
	// ReasonTooMany: an offer behind too many unanswered commands, or too far from
	// another one in its segment.
	ReasonTooMany
	// ReasonRate: more offers in a minute than the policy permits.
	ReasonRate
	// ReasonTelnet: an offer with Telnet commands inside its text.
	ReasonTelnet
	// ReasonInFlight: an earlier edit has not arrived yet, and the kernel
	// cannot adjust for both.
	ReasonInFlight
	// ReasonCommandDenied: a command was made to fail.
	ReasonCommandDenied
	// ReasonClosing: the server ended its service (421).
	ReasonClosing
	// ReasonNoConnection: the server could not open the data connection
	// (425).
	ReasonNoConnection
	// ReasonReset: the client began another login, or REIN.
	ReasonReset
	// ReasonQuit: the client ended the session.
	ReasonQuit
	// ReasonMode: the policy does not permit the mode.
	ReasonMode
	// ReasonFamilyDenied: the policy does not permit data connections of the
	// control connection's family.
	ReasonFamilyDenied
	// ReasonPortRange: an offer of a port that is not among the policy's.
	ReasonPortRange
	// ReasonTLSRequired: a login in the clear was made to fail.
	ReasonTLSRequired
	// ReasonAnonymous: a login was made to fail because it is anonymous, or is not.
	ReasonAnonymous
	// ReasonLength: a command was made to fail because it is too long.
	ReasonLength
	// ReasonFileDenied: a command was made to fail because of the file that it names.
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
