// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// TestDoubts: each setting with which a pair cannot work is reported.
func TestDoubts(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd99::1"), netip.MustParseAddr("fe80::1")}
	for _, tt := range []struct{ name, peer, listen, want string }{
		{"good", "10.9.0.2:2121", "10.9.0.1:2121", ""},
		{"IPv6", "[fd99::2]:2121", "[fd99::1]:2121", ""},
		{"of a link", "[fe80::2%sync0]:2121", "[fe80::1%sync0]:2121", ""},
		{"itself on a link", "[fe80::1%sync0]:2122", "[fe80::1%sync0]:2121", "not another machine"},
		{"a control port", "10.9.0.2:2121", "10.9.0.1:21", "a control port"},
		{"itself", "10.9.0.1:2122", "10.9.0.1:2121", "not another machine"},
		{"loopback", "127.0.0.2:2121", "10.9.0.1:2121", "not another machine"},
		{"everywhere", "10.9.0.2:2121", "0.0.0.0:2121", "on every interface"},
		{"nowhere", "10.9.0.2:2121", "127.0.0.1:2121", "not reached"},
		{"another's", "10.9.0.2:2121", "10.9.0.3:2121", "not an address of this machine"},
		{"two families", "[fd99::2]:2121", "10.9.0.1:2121", "two families"},
	} {
		c := config.Default()
		c.Peer, c.PeerListen, c.PeerKey = tt.peer, tt.listen, "/etc/key"
		list := doubts(c, own)
		if len(list) > 1 || len(list) == 1 && (tt.want == "" || !strings.Contains(list[0].Text, tt.want)) || len(list) == 0 && tt.want != "" {
			t.Errorf("%s: %+v, want %q", tt.name, list, tt.want)
		}
	}
	if list := Doubts(config.Default()); list != nil {
		t.Errorf("without a pair: %+v", list)
	}
}
