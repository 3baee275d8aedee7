// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestUser: transfers need CAP_NET_ADMIN and no other privilege, with both
// strategies and with rules in the administrator's chains.
func TestUser(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Expectation, Claim} {
		for _, a := range []Allow{AllowRelated, AllowChain} {
			t.Run(fmt.Sprintf("%s/%s", s.Name, a), func(t *testing.T) {
				t.Parallel()
				Ftplib.Need(t)
				site := NewSiteOnly(t, position("masquerade"), a, s)
				// A directory that does not exist yet will belong to the user.
				socket := filepath.Join(site.Firewalls[0].Dir, "run", "control.sock")
				site.StartSubject(t, "--user", "nobody", "--control-socket", socket)
				site.Daemons[0].Socket = socket
				server := site.StartServer(t, Pyftpdlib)
				for _, f := range site.Position.families() {
					for _, m := range f.Modes() {
						Job{Client: Ftplib, From: site.ClientHost(), Dial: site.Dial(site.ClientHost(), f, 0), Server: server,
							Mode: m, Size: smallFile}.Verify(t)
					}
				}
				if _, err := site.Daemons[0].Status(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
