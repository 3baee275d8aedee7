// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

// answers is a Source.
type answers struct {
	status   Status
	sessions []Session
	servers  []Server
	events   *report.Stream
	settings map[string]string
}

func (a answers) Status() Status      { return a.status }
func (a answers) Settings() any       { return a.settings }
func (a answers) Sessions() []Session { return a.sessions }
func (a answers) Servers() []Server   { return a.servers }
func (a answers) Events() *report.Stream {
	return a.events
}

func (a answers) Reload(context.Context) error {
	if a.status.Table == "" {
		return errors.New("no such chain")
	}
	return nil
}

func (a answers) Unblock(netip.Addr) error { return errors.New("is not blocked") }

func (a answers) Drain(name string, drain bool) error {
	for i := range a.servers {
		if a.servers[i].Name == name {
			a.servers[i].State = map[bool]ServerState{true: ServerDrained, false: ServerUp}[drain]
			return nil
		}
	}
	return errors.New("no such server")
}

func (a answers) End(id uint64) error {
	if slices.ContainsFunc(a.sessions, func(s Session) bool { return s.ID == id }) {
		return nil
	}
	return errors.New("no such session")
}

// start runs a server until the test ends or stop is called.
func start(t *testing.T, path string, src Source) (stop func()) {
	t.Helper()
	s, err := Listen(path, src)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func sample() answers {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return answers{
		status: Status{
			Version: "v0.1.0", PID: 4711, Started: at, Table: "pasvport", Ports: []string{"21", "8021-8025"},
			Allow: "related", Fail: "open", Strategy: "expectation", Carrier: "sane", QueueKind: "xt",
			ConfigFile: "/etc/pasvport/pasvport.yaml", TLS: "pass", TLSPorts: []string{"990"}, Checks: "normal", Repair: "unusable",
			Advertise: []string{"10.0.0.5=203.0.113.5"}, CTMark: "none", Keepalive: "5m0s", SessionIdle: "off",
			KeepaliveError: "operation not permitted", Heals: 2,
			Limits: Limits{Sessions: Limit{3, 16384}, ClientSessions: Limit{2, 4096}, Pinholes: Limit{1, 4096}, ClientPinholes: Limit{1, 1024}},
			Queues: []Queue{
				{Num: 2121, Packets: 1234, Waiting: 1, Dropped: 2, ENOBUFS: 3, Errors: 4},
				{Num: 2122},
			},
			Features: map[string]bool{"sane-helper": true, "native-queue": false, "claim": true},
			Sessions: 2, PinholesOpen: 1, LinesUnread: 9000,
			Settings: map[string][]string{"mark": {"0x10/0xf0"}, "port": {"21", "8021-8025"}, "policies": {"2"}},
			Peer: &Peer{Address: "10.99.0.2:2121", Wait: "always", Link: PeerDeaf, Since: at.Add(3 * time.Hour), Reason: "another key \x1b[2J",
				Hint: "compare the keys", Skew: -1.25, Lag: 0.0004, Told: 31, Held: 12, Waits: 99, Adopted: 40,
				TakeOver: &TakeOver{At: at.Add(2 * time.Hour), Sessions: 40, Seconds: 0.038}},
			Decisions: map[string]uint64{"plain": 1200, "port-below-minimum": 3},
			Notes:     []string{"the native queue expression is missing (CONFIG_NFT_QUEUE)"},
		},
		servers: []Server{
			{
				Virtual: "ftp", Listen: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.171:21")}, Method: "round-robin", Name: "one",
				Address: netip.MustParseAddrPort("10.0.0.1:21"), Weight: 3, State: ServerUp, Up: true, Since: at, Sessions: 31, Share: 0.75,
				Check: "ok", Checked: at.Add(3 * time.Hour),
			},
			{
				Virtual: "ftp", Listen: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::171]:21")}, Method: "round-robin", Name: "two",
				Address: netip.MustParseAddrPort("[fd00::2]:2121"), Weight: 1, State: ServerDown, Since: at.Add(time.Hour), Sessions: 2,
				Check: "connection answered with \"421 \x1b[2J\", want 220", Checked: at.Add(2 * time.Hour),
			},
			{Virtual: "ftp", Method: "round-robin", Name: "three", Address: netip.MustParseAddrPort("10.0.0.3:21"), State: ServerDrained, Up: true},
		},
		sessions: []Session{
			{
				ID: 99, Client: netip.MustParseAddrPort("[2001:db8::2]:40000"), Dialled: netip.MustParseAddrPort("[2001:db8::1]:21"),
				Server: netip.MustParseAddrPort("[2001:db8::1]:21"), SeenAs: netip.MustParseAddrPort("[2001:db8::2]:40000"),
				NAT: NATNone, State: "established", Strategy: "claim", Started: at.Add(time.Hour), Opaque: true,
				LastCommand: "AUTH", Note: "TLS: announcements cannot be read",
			},
			{
				ID: 4294967295, Client: netip.MustParseAddrPort("10.0.0.2:40000"), Dialled: netip.MustParseAddrPort("198.51.100.7:21"),
				Server: netip.MustParseAddrPort("192.168.1.5:2121"), SeenAs: netip.MustParseAddrPort("203.0.113.1:40000"),
				NAT: NATBoth, Mode: ModeActive, State: "established", Strategy: "expectation", User: "alice", Started: at,
				LastCommand: "RETR",
				Offer: &Offer{Verb: "PORT", Announced: netip.MustParseAddrPort("10.0.0.2:40001"),
					Translated: netip.MustParseAddrPort("203.0.113.1:40001"), Target: netip.MustParseAddrPort("10.0.0.2:40001"),
					Time: at.Add(time.Minute), Reason: "offered", Pinhole: PinholeUsed},
				Data: Data{Connections: 3, BytesOriginal: 52_428_800, BytesReply: 999, Accounting: true},
			},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	path := filepath.Join(dir, "control.sock")
	want := sample()
	stop := start(t, path, want)

	for name, mode := range map[string]fs.FileMode{path: 0o660 | fs.ModeSocket, dir: 0o755 | fs.ModeDir} {
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
	client := NewClient(path)
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.status, status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	sessions, err := client.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.sessions, sessions, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	stop()
	if exists(path) {
		t.Error("the socket exists after the server stopped")
	}
}

func TestNoSessions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	start(t, path, answers{})
	sessions, err := NewClient(path).Sessions(t.Context())
	if err != nil || sessions == nil || len(sessions) != 0 {
		t.Errorf("sessions %#v, error %v, want an empty list", sessions, err)
	}
}

func TestLiveSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	start(t, path, answers{status: Status{PID: 1}})
	if _, err := Listen(path, answers{}); !errors.Is(err, ErrInUse) {
		t.Fatalf("second server: error %v, want ErrInUse", err)
	}
	status, err := NewClient(path).Status(t.Context())
	if err != nil || status.PID != 1 {
		t.Errorf("the first server is disturbed: %+v, %v", status, err)
	}
}

// stale leaves a socket file that no one listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	start(t, path, answers{status: Status{PID: 2}})
	status, err := NewClient(path).Status(t.Context())
	if err != nil || status.PID != 2 {
		t.Errorf("status %+v, error %v", status, err)
	}
}

// TestOtherFilesAreLeftAlone: a mistyped path destroys nothing.
func TestOtherFilesAreLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string)
	}{
		{"file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"link to a stale socket", func(t *testing.T, path string) {
			stale(t, path+".target")
			if err := os.Symlink(path+".target", path); err != nil {
				t.Fatal(err)
			}
		}},
		{"link to nothing", func(t *testing.T, path string) {
			if err := os.Symlink(path+".target", path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			tt.make(t, path)
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Listen(path, answers{}); !errors.Is(err, ErrNotSocket) {
				t.Errorf("error %v, want ErrNotSocket", err)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) {
				t.Errorf("the file has changed: %v, %v", after, err)
			}
		})
	}
}

// TestStopLeavesSuccessor: if someone removed our socket and another daemon made
// its own, that one stays when we stop.
func TestStopLeavesSuccessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stop := start(t, path, answers{status: Status{PID: 1}})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	start(t, path, answers{status: Status{PID: 2}})
	stop()
	status, err := NewClient(path).Status(t.Context())
	if err != nil || status.PID != 2 {
		t.Errorf("status %+v, error %v", status, err)
	}
}

func TestCloseWithoutRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, answers{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if exists(path) {
		t.Error("the socket exists after Close")
	}
}

func TestClientErrors(t *testing.T) {
	dir := t.TempDir()
	stale(t, filepath.Join(dir, "stale"))
	for _, tt := range []struct{ name, want string }{
		{"missing", "no daemon answers on DIR/missing: connect: no such file or directory (is it running, and with this --control-socket?)"},
		{"stale", "no daemon answers on DIR/stale: connect: connection refused (is it running, and with this --control-socket?)"},
	} {
		_, err := NewClient(filepath.Join(dir, tt.name)).Status(t.Context())
		if err == nil {
			t.Fatalf("%s: no error", tt.name)
		}
		if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// TestOtherPeer: another program listens, and answers something else.
func TestOtherPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			// Read the request first: an answer before it is an error of the
			// transport.
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = c.Write([]byte("HTTP/1.0 404 Not Found\r\n\r\n"))
			}
			_ = c.Close()
		}
	}()
	_, err = NewClient(path).Sessions(t.Context())
	if err == nil || !strings.Contains(err.Error(), "not a pasvport daemon") {
		t.Errorf("error %v, want one that doubts it is pasvport", err)
	}
}

// TestDrain: an error of the source is returned with its text.
func TestDrain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	in := answers{servers: []Server{{Name: "a b/c?", State: ServerUp}}}
	start(t, path, in)
	c := NewClient(path)
	for _, drain := range []bool{true, false} {
		if err := c.Drain(t.Context(), "a b/c?", drain); err != nil {
			t.Fatal(err)
		}
		got, err := c.Servers(t.Context())
		want := map[bool]ServerState{true: ServerDrained, false: ServerUp}[drain]
		if err != nil || len(got) != 1 || got[0].State != want {
			t.Errorf("servers %+v, %v, want one that is %s", got, err, want)
		}
	}
	if err := c.Drain(t.Context(), "x", true); err == nil || err.Error() != `server "x": no such server` {
		t.Errorf("error %v", err)
	}
}

// TestReload: the caller gets the result of a reload.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	stop := start(t, path, sample())
	c := NewClient(path)
	if err := c.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	start(t, path, answers{})
	if err := c.Reload(t.Context()); err == nil || err.Error() != "configuration not reloaded: no such chain" {
		t.Errorf("error %v", err)
	}
}
