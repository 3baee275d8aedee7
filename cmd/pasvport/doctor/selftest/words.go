// SPDX-License-Identifier: Apache-2.0

package selftest

const introduction = `
FTP uses two connections: one for commands, and for each file a second one, the
data connection, to an address that is agreed on the fly. In passive mode the
server announces where the client shall connect to; in active mode the client
announces where the server shall connect to. A strict firewall does not know of
that agreement and drops the data connection. pasvport reads the agreement as it
passes, corrects the addresses in it, and lets in exactly that one connection.
`

// drawing is the network as build makes it.
const drawing = `
 private network                firewall                     the internet
+--------------+     +-----------------------------+     +----------------+
|  FTP client  |     |  drops what is not allowed  |     |   FTP server   |
|  192.0.2.2   |-----|  192.0.2.1    198.51.100.1  |-----|  198.51.100.2  |
+--------------+     +-----------------------------+     +----------------+
                      pasvport will run here, and
                      nothing at all on the others

Over IPv4 the client is seen outside as 198.51.100.1, and the server knows no way to
the client's own address. Over IPv6 nothing is translated.
`

const holesExplained = `
For each data connection pasvport opens a hole: an expectation (or a claim), so that
the kernel's connection tracking will know the connection as belonging to this FTP
session, and translate its addresses; and with --allow chain an entry in the set of
the firewall's rule: source, destination, port. All of it is closed when the
connection has come. What follows is what the two ends said and heard, and what
"conntrack -E" and "nft monitor" reported on the firewall; times count from the start
of the session.
`
