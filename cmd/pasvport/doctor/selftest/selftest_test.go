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

// TestDaemonThatFails: the report names the step and shows the log, and what
// cannot be tried any more is not tried.
func TestDaemonThatFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	r, err := Run(t.Context(), config.Default())
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

// TestRefusedIsProved: a firewall that lets everything through would prove
// nothing, and the self-test says so.
func TestRefusedIsProved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	n, err := newNetwork(false)
	defer n.close()
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	s, end, err := startServer(n.server, controlPort(cfg), []byte("all of it"))
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	// The server has no way back to the client before it is translated.
	if err := n.server.route(outside4); err != nil {
		t.Fatal(err)
	}
	if err := refused(n, s, cfg); !errors.Is(err, errNotRefused) {
		t.Errorf("without a firewall: %v, want %v", err, errNotRefused)
	}
	for _, verb := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
		if err := transfer(n, s, address(server4, cfg), verb); err != nil {
			t.Errorf("%s without a firewall: %v", verb, err)
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
