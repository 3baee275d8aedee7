// SPDX-License-Identifier: Apache-2.0

package ftpalg

// dialogue is what both ends say to one another: which reply answers which
// command, and whether an announcement counts. It changes text on the wire.
type dialogue struct {
	streams
	said
	pending pending
	rate    rate
}

// said is what has been said so far, as far as it matters to offers.
type said struct {
	greeted  bool   // the server sent 220 or 120, or asked for a password
	proxied  bool   // it began with a PROXY header
	answered bool   // the server has sent any reply code
	foreign  Reason // why the connection is not FTP, otherwise ReasonPlain
	login    bool   // the server has accepted the user
	epsvAll  bool   // only EPSV may follow (RFC 2428 section 4)
	offered  bool   // an offer is valid
	unchosen bool   // the client has chosen no data port since it logged in, or since its last transfer
	way      Way    // reported direction of its transfer
	multi    uint16 // code of the multi-line reply in progress, 0 if none
	ended    bool   // a line inside it looked like the end of another reply
	inside   bool   // a line inside it made an offer
	later    bool   // the line being read is not the first of its reply
	retold   told   // what the client is told in place of the multi-line reply in progress
}
