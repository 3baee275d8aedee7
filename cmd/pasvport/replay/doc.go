// SPDX-License-Identifier: Apache-2.0

// Package replay runs the engine over a capture of FTP control connections and
// says what it makes of each packet.
//
// A capture is a record of what was sent, not a peer that can be asked: what the
// daemon would hold or have sent again is put before the engine again with what
// comes next (see session), and acknowledgements are moved by what the edits of the
// engine would have shifted.
//
// Scrub writes a capture again, without what is no one else's business.
package replay
