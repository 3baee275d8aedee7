// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/pasvport/pasvport/ftpalg"

// Hint returns what an administrator can do about a reason, "" if there is
// nothing to be done.
func (r Reason) Hint() string { return hints[r] }

var hints = map[Reason]string{
	Reason(ftpalg.ReasonForeignAddress): "the client asked the server to connect to a third host; --third-party allow permits it, " +
		"--repair private or all sends the data to the client instead if it just does not know its address",
	Reason(ftpalg.ReasonForeignText): "the server announces an address that is not its own here; if clients cannot reach it, " +
		"use --repair private or all, or set the server's passive address",
	Reason(ftpalg.ReasonPortZero):      "the sender announced no port; it is a fault of the client or server",
	Reason(ftpalg.ReasonPortLow):       "the port is one of well-known services; --min-data-port permits lower ones",
	Reason(ftpalg.ReasonSyntax):        "the announcement cannot be read; it is a fault of the client or server, or another gateway broke it",
	Reason(ftpalg.ReasonOctet):         "a number of the announcement is over 255; it is a fault of the client or server",
	Reason(ftpalg.ReasonFamily):        "the announcement is for another address family than the control connection's",
	Reason(ftpalg.ReasonUnasked):       "the server announced a port that the client did not ask for",
	Reason(ftpalg.ReasonEPSVAll):       "the client said EPSV ALL before, so nothing but EPSV may follow",
	Reason(ftpalg.ReasonSplit):         "the announcement came in pieces and a part had been sent on; a retry usually works",
	Reason(ftpalg.ReasonNoAdjust):      "the text would change its length and neither the kernel nor pasvport can adjust the sequence numbers of this connection; see the line before",
	ReasonNoCarrier:                    "the control connection is older than the daemon; reconnect, or use --strategy auto or claim",
	ReasonPortsExhausted:               "the port is taken by another session between the same two hosts, or all of --map-data-ports are",
	ReasonKernel:                       "the kernel refused; see err, and nf_conntrack_expect_max and nf_conntrack_max if it says table full",
	ReasonNotTracked:                   "conntrack does not know the control connection; is there a notrack rule?",
	ReasonZone:                         "a rule sets the zone of one direction (ct original zone set, CT --zone-orig); set that of both (ct zone set) to have pasvport serve it",
	ReasonHelper:                       "a rule attaches a kernel helper to this connection (ct helper); remove that rule to have pasvport serve it",
	Reason(ftpalg.ReasonOpaque):        "use passive mode with a fixed port range on the server and --tls range, or --tls deny",
	Reason(ftpalg.ReasonTLSDenied):     "--tls deny is set; the client was told that the server knows no AUTH",
	Reason(ftpalg.ReasonCommandDenied): "deny-command or commands do not permit it; the client was told that the server does not know it",
	Reason(ftpalg.ReasonMode):          "the mode is not one of --modes; the client was told that the server does not know the command",
	Reason(ftpalg.ReasonFamilyDenied):  "the control connection's address family is not one of --families; the client was told that the server does not know the command",
	Reason(ftpalg.ReasonPortRange):     "the port is not one of --data-ports; the server's passive range, or the client's, may lie elsewhere",
	Reason(ftpalg.ReasonTLSRequired):   "--tls require is set; the client was told to use AUTH TLS",
	Reason(ftpalg.ReasonAnonymous):     "the setting anonymous does not permit this user; the client was told that the server does not know the command",
	Reason(ftpalg.ReasonLength):        "the command is longer than max-line, max-argument or max-path permits; the client was told that the server does not know it",
	Reason(ftpalg.ReasonFileDenied):    "a pattern of files denies the name; the client was told that the server does not know the command",
	Reason(ftpalg.ReasonNotFTP):        "the client's first line was no command of FTP; is another service on this port?",
	Reason(ftpalg.ReasonStartUnseen):   "the client's first bytes passed unread; was the queue full? reconnect",
	Reason(ftpalg.ReasonLineStart):     "the session was taken up in the middle of a line; its next command and reply are read again",
	Reason(ftpalg.ReasonNoGreeting):    "the server did not begin as FTP servers do; is another service on this port? if the queue was full, reconnect",
	Reason(ftpalg.ReasonNotLoggedIn):   "the server has not accepted the user yet",
	Reason(ftpalg.ReasonPipelined):     "it was sent before an earlier command was answered; let the client wait for replies (lftp: ftp:sync-mode on)",
	Reason(ftpalg.ReasonLineEnd):       "the line does not end with CR LF; it is a fault of the sender",
	Reason(ftpalg.ReasonTrailing):      "there is much text behind the numbers; it is a fault of the sender, or an attempt to confuse gateways",
	Reason(ftpalg.ReasonService):       "it is the port of a known service; keep it out of the server's passive range",
	Reason(ftpalg.ReasonControlPort):   "it is the control port itself; it is a fault of the server",
	Reason(ftpalg.ReasonTooMany):       "too many lines came at once; see the limits",
	Reason(ftpalg.ReasonRate):          "the session announces more in a minute than --max-offers permits",
	ReasonSessions:                     "there are as many control connections as --max-sessions permits; those beyond pass unread, or wait with --fail closed",
	ReasonClientSessions:               "this client has as many control connections as --max-client-sessions permits; those beyond pass unread, or wait with --fail closed",
	ReasonPinholes:                     "as many pinholes are open as --max-pinholes permits; who asks for ports and does not use them?",
	ReasonClientPinholes:               "this client has as many open pinholes as --max-client-pinholes permits",
	ReasonWrongWay:                     "data-direction strict: a download or a list carried data up, or an upload carried data down; is it FTP?",
	Reason(ftpalg.ReasonTelnet):        "there are Telnet commands inside the announcement",
	Reason(ftpalg.ReasonInFlight):      "an earlier change of the stream never arrived; reconnect",
}
