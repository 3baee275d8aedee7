// SPDX-License-Identifier: Apache-2.0

package ftpalg

// dialogue is what has been said so far, as far as it decides what an offer
// is worth.
type dialogue struct {
	started  bool   // seen from its first byte
	greeted  bool   // the server said 220 or 120, or asked for a password
	proxied  bool   // it began with a PROXY header
	answered bool   // the server has said anything with a code
	spoken   bool   // the client's first line has come
	begun    bool   // it is known where the client's first byte is
	startSet bool   // start is the first of the client's bytes that was seen
	unseen   bool   // it was not seen
	foreign  Reason // why the connection is not one of FTP, else ReasonPlain
	login    bool   // the server has accepted the user
	epsvAll  bool   // nothing but EPSV may follow (RFC 2428 section 4)
	offered  bool   // an offer stands
	multi    uint16 // code of the multi-line reply in progress, 0 for none
	ended    bool   // a line inside it looked like the end of another reply
	inside   bool   // a line inside it made an offer
	later    bool   // the line being read is not the first of its reply
}
