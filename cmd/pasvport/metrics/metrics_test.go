// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// scrape serves m on a loopback port and returns our lines of the answer.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, ln) }()
	resp, err := http.Get("http://" + ln.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %s, error %v: %s", resp.Status, err, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve after its context ended: %v", err)
	}
	var ours []string
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "pasvport_") && !strings.HasPrefix(line, "pasvport_packet_seconds_bucket") {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

func TestScrape(t *testing.T) {
	m := New([]string{"ok", "port-below-minimum"})
	m.Decision(1)
	m.Decision(1)
	m.Sessions.Add(3)
	m.SessionsTotal.Add(4)
	m.Heals.Add(6)
	m.Carried(true, 7, 100)
	m.Transfer(true, true)
	m.Transfer(true, true)
	m.Pinholes.Open.Add(1)
	m.Pinholes.Opened.Add(5)
	m.Pinholes.Used.Add(2)
	m.Pinholes.Refused.Add(7)
	m.Packet(250 * time.Millisecond)
	m.AddQueue(2121, func() Queue { return Queue{Packets: 10, Waiting: 3, Dropped: 1, ENOBUFS: 2} })
	m.AddQueue(2122, func() Queue { return Queue{Packets: 20} })
	m.AddServers(func() []control.Server {
		return []control.Server{
			{Virtual: "ftp", Name: "one", Address: netip.MustParseAddrPort("10.0.0.1:21"), Up: true, Sessions: 31, Share: 0.75},
			{Virtual: "ftp", Name: "two", Address: netip.MustParseAddrPort("[fd00::2]:21")},
		}
	})
	m.AddHeld(func() int { return 512 })
	m.AddPeer(func() *control.Peer {
		return &control.Peer{Link: control.PeerUp, Since: time.Unix(1000, 0), Lag: 0.25, Told: 8, Held: 9, Waits: 10, Adopted: 11,
			TakeOver: &control.TakeOver{At: time.UnixMilli(2500), Sessions: 12}}
	})
	want := `pasvport_decisions_total{reason="ok"} 0
pasvport_decisions_total{reason="port-below-minimum"} 2
pasvport_encrypted_sessions_total 0
pasvport_heals_total 6
pasvport_login_failures_total 0
pasvport_packet_seconds_sum 0.25
pasvport_packet_seconds_count 1
pasvport_packets_total{queue="2121"} 10
pasvport_packets_total{queue="2122"} 20
pasvport_peer_adopted_total 11
pasvport_peer_lag_seconds 0.25
pasvport_peer_sessions_held 9
pasvport_peer_sessions_told 8
pasvport_peer_since_timestamp_seconds 1000
pasvport_peer_take_over_sessions 12
pasvport_peer_take_over_timestamp_seconds 2.5
pasvport_peer_up 1
pasvport_peer_waits_total 10
pasvport_pinholes 1
pasvport_pinholes_total{event="closed"} 0
pasvport_pinholes_total{event="dropped"} 0
pasvport_pinholes_total{event="expired"} 0
pasvport_pinholes_total{event="opened"} 5
pasvport_pinholes_total{event="refused"} 7
pasvport_pinholes_total{event="used"} 2
pasvport_queue_dropped_total{queue="2121"} 1
pasvport_queue_dropped_total{queue="2122"} 0
pasvport_queue_enobufs_total{queue="2121"} 2
pasvport_queue_enobufs_total{queue="2122"} 0
pasvport_queue_waiting{queue="2121"} 3
pasvport_queue_waiting{queue="2122"} 0
pasvport_server_sessions{address="10.0.0.1:21",server="one",virtual="ftp"} 31
pasvport_server_sessions{address="[fd00::2]:21",server="two",virtual="ftp"} 0
pasvport_server_share{address="10.0.0.1:21",server="one",virtual="ftp"} 0.75
pasvport_server_share{address="[fd00::2]:21",server="two",virtual="ftp"} 0
pasvport_server_up{address="10.0.0.1:21",server="one",virtual="ftp"} 1
pasvport_server_up{address="[fd00::2]:21",server="two",virtual="ftp"} 0
pasvport_sessions 3
pasvport_sessions_held_bytes 512
pasvport_sessions_total 4
pasvport_transfer_bytes_total{direction="download",mode="active"} 100
pasvport_transfer_bytes_total{direction="download",mode="passive"} 0
pasvport_transfer_bytes_total{direction="upload",mode="active"} 7
pasvport_transfer_bytes_total{direction="upload",mode="passive"} 0
pasvport_transfers_total{direction="download",result="complete"} 0
pasvport_transfers_total{direction="download",result="failed"} 0
pasvport_transfers_total{direction="upload",result="complete"} 2
pasvport_transfers_total{direction="upload",result="failed"} 0
`
	if diff := cmp.Diff(want, scrape(t, m)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestDecisions(t *testing.T) {
	m := New([]string{"a", "b", "c"})
	m.Decision(0)
	m.Decision(2)
	m.Decision(2)
	m.Decision(3) // no such reason
	m.Decision(-1)
	want := map[string]uint64{"a": 1, "c": 2}
	if diff := cmp.Diff(want, m.Decisions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}

// TestNoAllocations: these run for every packet.
func TestNoAllocations(t *testing.T) {
	m := New([]string{"ok"})
	n := testing.AllocsPerRun(1000, func() {
		m.Decision(0)
		m.Packet(37 * time.Microsecond)
		m.Pinholes.Opened.Add(1)
		m.Sessions.Add(1)
	})
	if n != 0 {
		t.Errorf("%v allocations per packet, want none", n)
	}
}

func TestServeReportsListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := New(nil).Serve(context.Background(), ln); err == nil {
		t.Error("Serve on a closed listener returned nil")
	}
}

func BenchmarkPacket(b *testing.B) {
	m := New([]string{"ok"})
	b.ReportAllocs()
	for b.Loop() {
		m.Decision(0)
		m.Packet(37 * time.Microsecond)
	}
}
