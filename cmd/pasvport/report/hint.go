// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/pasvport/pasvport/ftpalg"

// Hint returns what an administrator can do about a reason, or "".
func (r Reason) Hint() string { return hints[r] }

var hints = map[Reason]string{
	Reason(ftpalg.ReasonForeignAddress): "the client named a third host: --third-party allow permits it; if it only does not know its own address, --repair private or all sends the data to the client",
	Reason(ftpalg.ReasonForeignText):    "the server announces an address that is not its own here; if clients cannot reach it, use --repair private or all, or set the server's passive address",
	Reason(ftpalg.ReasonPortZero):       "a fault of the client or server",
	Reason(ftpalg.ReasonPortLow):        "well-known services have such ports; --min-data-port permits lower ones",
	Reason(ftpalg.ReasonSyntax):         "a fault of the client or server, or of another gateway",
	Reason(ftpalg.ReasonOctet):          "a fault of the client or server",
	Reason(ftpalg.ReasonFamily):         "the control connection has another address family; a fault of the client or server",
	Reason(ftpalg.ReasonUnasked):        "the server announced a port that the client did not ask for",
	Reason(ftpalg.ReasonEPSVAll):        "after EPSV ALL the client may use EPSV only",
	Reason(ftpalg.ReasonSplit):          "the announcement came in pieces; a retry usually works",
	Reason(ftpalg.ReasonNoAdjust):       "neither the kernel nor pasvport can adjust this connection's sequence numbers; see the line before",
	ReasonNoCarrier:                     "the control connection is older than the daemon; reconnect, or use --strategy auto or claim",
	ReasonPortsExhausted:                "another session of the same two hosts has the port, or all of --map-data-ports are taken",
	ReasonKernel:                        "see err; if it says table full, nf_conntrack_expect_max and nf_conntrack_max",
	ReasonNotTracked:                    "is there a notrack rule for the control connection?",
	ReasonZone:                          "a rule sets the zone of one direction (ct original zone set, CT --zone-orig); set that of both (ct zone set)",
	ReasonHelper:                        "a rule attaches a kernel helper (ct helper); remove it to have pasvport serve the connection",
	Reason(ftpalg.ReasonOpaque):         "use passive mode with a fixed port range on the server and --tls range, or --tls deny",
	Reason(ftpalg.ReasonTLSDenied):      "--tls deny is set; the client was told that AUTH is unknown",
	Reason(ftpalg.ReasonCommandDenied):  "denied by deny-command or commands; the client was told that the command is unknown",
	Reason(ftpalg.ReasonMode):           "denied by --modes; the client was told that the command is unknown",
	Reason(ftpalg.ReasonFamilyDenied):   "denied by --families; the client was told that the command is unknown",
	Reason(ftpalg.ReasonPortRange):      "does the passive range of the server, or the range of the client, lie outside --data-ports?",
	Reason(ftpalg.ReasonTLSRequired):    "--tls require is set; the client was told to use AUTH TLS",
	Reason(ftpalg.ReasonAnonymous):      "denied by the setting anonymous; the client was told that the command is unknown",
	Reason(ftpalg.ReasonLength):         "denied by max-line, max-argument or max-path; the client was told that the command is unknown",
	Reason(ftpalg.ReasonFileDenied):     "denied by a pattern of files; the client was told that the command is unknown",
	Reason(ftpalg.ReasonNotFTP):         "is another service on this port?",
	Reason(ftpalg.ReasonStartUnseen):    "the client's first bytes passed unread; was the queue full? reconnect",
	Reason(ftpalg.ReasonLineStart):      "the session was taken up in the middle of a line; its next command and reply are read again",
	Reason(ftpalg.ReasonNoGreeting):     "is another service on this port? if the queue was full, reconnect",
	Reason(ftpalg.ReasonNotLoggedIn):    "the server has not accepted the user yet",
	Reason(ftpalg.ReasonPipelined):      "let the client wait for replies (lftp: ftp:sync-mode on)",
	Reason(ftpalg.ReasonLineEnd):        "a fault of the sender: its line does not end with CR LF",
	Reason(ftpalg.ReasonTrailing):       "a fault of the sender, or an attempt to confuse gateways",
	Reason(ftpalg.ReasonService):        "keep the port of a known service out of the server's passive range",
	Reason(ftpalg.ReasonControlPort):    "a fault of the server",
	Reason(ftpalg.ReasonTooMany):        "too many lines came at once; let the client wait for replies",
	Reason(ftpalg.ReasonRate):           "raise --max-offers if the client means it",
	ReasonSessions:                      "those beyond --max-sessions pass unread, or wait with --fail closed",
	ReasonClientSessions:                "those beyond --max-client-sessions pass unread, or wait with --fail closed",
	ReasonPinholes:                      "who asks for ports and does not use them? if no one, raise --max-pinholes",
	ReasonClientPinholes:                "does the client use the ports that it asks for? if so, raise --max-client-pinholes",
	ReasonWrongWay:                      "data-direction strict: a download or list carried data up, or an upload carried data down; is it FTP?",
	Reason(ftpalg.ReasonTelnet):         "a fault of the sender, or an attempt to confuse gateways",
	Reason(ftpalg.ReasonInFlight):       "an earlier change of the stream never arrived; reconnect",
}
