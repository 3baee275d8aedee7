// SPDX-License-Identifier: Apache-2.0

package succession

// Left is why a control connection is not read. It outlives the connection's
// entry and the daemon: what was judged once is not judged again.
type Left string

// The reasons. Any other is that of a newer daemon, and is LeftAlone.
const (
	// LeftEncrypted: it was seen to go over to TLS, or is to a port of
	// --tls-port.
	LeftEncrypted Left = "encrypted"
	// LeftForeign: it does not speak FTP.
	LeftForeign Left = "not-ftp"
	// LeftAlone: an in-kernel helper has it, it is one too many, or why is not
	// known any more.
	LeftAlone Left = "left-alone"
)
