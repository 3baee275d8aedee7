// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// TestDoubts: each setting with which a pair cannot work is reported.
func TestDoubts(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd99::1")}
	dir := t.TempDir()
	good, short, open := filepath.Join(dir, "good"), filepath.Join(dir, "short"), filepath.Join(dir, "open")
	err := errors.Join(os.WriteFile(good, key, 0o600), os.WriteFile(short, []byte("secret"), 0o600), os.WriteFile(open, key, 0o600), os.Chmod(open, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, peer, listen, key, want string }{
		{"good", "10.9.0.2:2121", "10.9.0.1:2121", good, ""},
		{"IPv6", "[fd99::2]:2121", "[fd99::1]:2121", good, ""},
		{"itself", "10.9.0.1:2122", "10.9.0.1:2121", good, "not another machine"},
		{"loopback", "127.0.0.2:2121", "10.9.0.1:2121", good, "not another machine"},
		{"everywhere", "10.9.0.2:2121", "0.0.0.0:2121", good, "on every interface"},
		{"nowhere", "10.9.0.2:2121", "127.0.0.1:2121", good, "not reached"},
		{"another's", "10.9.0.2:2121", "10.9.0.3:2121", good, "not an address of this machine"},
		{"two families", "[fd99::2]:2121", "10.9.0.1:2121", good, "two families"},
		{"no key", "10.9.0.2:2121", "10.9.0.1:2121", filepath.Join(dir, "none"), "no such file"},
		{"short key", "10.9.0.2:2121", "10.9.0.1:2121", short, "want at least 32"},
		{"key for all", "10.9.0.2:2121", "10.9.0.1:2121", open, "no access"},
	} {
		c := config.Default()
		c.Peer, c.PeerListen, c.PeerKey = tt.peer, tt.listen, tt.key
		list := doubts(c, own)
		if len(list) > 1 || len(list) == 1 && (tt.want == "" || !strings.Contains(list[0].Text, tt.want)) || len(list) == 0 && tt.want != "" {
			t.Errorf("%s: %+v, want %q", tt.name, list, tt.want)
		}
	}
	if list := Doubts(config.Default()); list != nil {
		t.Errorf("without a pair: %+v", list)
	}
}
