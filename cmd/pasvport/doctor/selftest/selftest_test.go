// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// TestMain: as the daemon of a self-test this binary fails, with a log.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		fmt.Fprintln(os.Stderr, "level=INFO msg=starting")
		fmt.Fprintln(os.Stderr, `level=ERROR msg="no such luck"`)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestDaemonThatFails: the report names the step and shows the log, and steps
// that have become pointless are skipped.
func TestDaemonThatFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	r, err := Run(t.Context(), config.Default(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Fine() {
		t.Error("the report is fine")
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := "FAIL  pasvport starts\n      it ended at once: exit status 1\n      | level=INFO msg=starting\n      | level=ERROR msg=\"no such luck\"\n"
	if !strings.Contains(text.String(), want) || strings.Contains(text.String(), "PASV") {
		t.Errorf("report:\n%s\nwant in it:\n%s", text.String(), want)
	}
	for _, s := range r.Steps[:3] {
		if !s.OK {
			t.Errorf("step %+v", s)
		}
	}
}

// TestWithoutFirewall: a firewall that accepts everything would prove nothing,
// and the self-test reports that: for what works without pasvport, and for a
// stranger whose connection replaces the server's.
func TestWithoutFirewall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	var told bytes.Buffer
	x := &test{cfg: config.Default(), show: newShow(&told), network: new(network)}
	defer x.network.close()
	if err := x.network.build(); err != nil {
		t.Fatal(err)
	}
	x.client, x.outside = x.network.client, x.network.server
	var err error
	if x.server, err = startServer(x.outside, controlPort(x.cfg)); err != nil {
		t.Fatal(err)
	}
	defer x.server.close()
	// The server has no route back to the client before it is translated.
	if err := x.network.server.DefaultRoute(outside4); err != nil {
		t.Fatal(err)
	}
	if _, err := x.refused("PASV"); !errors.Is(err, errNotRefused) {
		t.Errorf("without a firewall: %v, want %v", err, errNotRefused)
	}
	for _, verb := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
		if _, err := x.transfer(server4, verb); err != nil {
			t.Errorf("%s without a firewall: %v", verb, err)
		}
	}
	x.narrow()
	var blocked []string
	for _, s := range x.Steps {
		if !s.OK {
			blocked = append(blocked, s.Error)
		}
	}
	if len(blocked) != 3 || !strings.HasSuffix(blocked[0], "got through") || !strings.HasSuffix(blocked[1], "to a closed port") || !strings.Contains(blocked[2], "fetched 0 bytes") {
		t.Errorf("without a firewall these failed: %q", blocked)
	}
	for _, want := range []string{"\n       client announced   PORT 192,0,2,2,", "\n       server heard       EPRT |1|192.0.2.2|", "SHA-256 at the server  "} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("the show has no %q:\n%s", want, told.String())
		}
	}
}

// TestAnnouncements are read as they are written.
func TestAnnouncements(t *testing.T) {
	for _, tt := range []struct{ verb, addr, want string }{
		{"PORT", "192.0.2.2:51210", "PORT 192,0,2,2,200,10"},
		{"EPRT", "192.0.2.2:51210", "EPRT |1|192.0.2.2|51210|"},
		{"EPRT", "[2001:db8::2]:6446", "EPRT |2|2001:db8::2|6446|"},
	} {
		at := netip.MustParseAddrPort(tt.addr)
		text := announcement(tt.verb, at)
		if d := cmp.Diff(tt.want, text); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if back, err := parseAnnounced(tt.verb, strings.TrimPrefix(text, tt.verb+" ")); err != nil || back != at {
			t.Errorf("%s: read back as %s, %v", text, back, err)
		}
	}
	for _, bad := range []string{"", "1,2,3,4,5", "1,2,3,4,5,256", "a,2,3,4,5,6", "1,2,3,4,5,6,7"} {
		if a, err := parseSix(bad); err == nil {
			t.Errorf("%q read as %s", bad, a)
		}
	}
}
