// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
)

var (
	scaleSessions = flag.String("scale.sessions", "100,1000,10000,100000,250000", "how many idle control connections")
	scaleReal     = flag.Int("scale.real", 15000, "how many of them with sockets, in a row of its own")
)

// scaleMetrics is the address of the daemon's metrics, in its namespace.
const scaleMetrics = "127.0.0.1:9021"

// TestScale measures what a packet costs beside many idle control connections,
// what these cost, and how their end affects the packets of others. It creates
// the sessions in conntrack: sockets would run out.
func TestScale(t *testing.T) {
	results := Results{Machine: thisMachine()}
	var columns []string
	for _, text := range strings.Split(*scaleSessions, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		columns = append(columns, text)
		t.Run(text, func(t *testing.T) {
			for _, f := range scale(t, n) {
				results.add(f, text)
			}
		})
	}
	results.table(&scaleOut, columns, func(*Row) bool { return true },
		func(r *Row, c string) []float64 { return r.Figures[c] })
	fmt.Print(scaleOut.String())
	results.write(t)
}

var scaleOut strings.Builder

// add adds a figure of a column.
func (r *Results) add(f Figure, column string) {
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Workload == f.Name })
	if i < 0 {
		i = len(r.Rows)
		r.Rows = append(r.Rows, Row{Position: "routed", Workload: f.Name, Unit: f.Unit, Figures: map[string][]float64{}})
	}
	r.Rows[i].Figures[column] = append(r.Rows[i].Figures[column], f.Value)
}

// idle is a control connection that an earlier daemon served.
var idle = expect.Forgotten{Helper: "sane", Timeout: time.Hour}

func scale(t *testing.T, n int) (figures []Figure) {
	note := func(name, unit string, v float64) { figures = append(figures, Figure{name, unit, v}) }
	p := position("routed")
	b := &bench{subject: Expectation, site: NewSiteOnly(t, p, AllowRelated, Expectation)}
	fw := b.site.Firewalls[0]
	b.startEnds(t, b.site.Dial(b.site.Client, IPv4, 0), b.site.Server)
	b.startScaled(t, "reference")
	empty := b.metrics(t)
	// conntrack reports the end of a connection only if someone listened when it
	// began.
	makeEntries(t, fw, n, idle)
	if err := b.daemon.Crash(); err != nil { // after a stop nothing would be taken back
		t.Fatal(err)
	}
	start := time.Now()
	b.startScaled(t, "with all of them")
	note("start, until ready", "ms", float64(time.Since(start).Milliseconds()))
	full := b.metrics(t)
	if got := int(full["pasvport_sessions"]); got != n {
		t.Errorf("%d sessions taken back, want %d", got, n)
	}
	if n >= 10_000 { // a few sessions are lost in the noise of the daemon's own memory
		note("live heap for a session", "bytes", (full["go_memstats_next_gc_bytes"]-empty["go_memstats_next_gc_bytes"])/2/float64(n))
		note("resident memory for a session", "bytes", (full["process_resident_memory_bytes"]-empty["process_resident_memory_bytes"])/float64(n))
	}
	for range *benchRounds {
		for _, f := range noop(t, b) {
			note("NOOP round trip "+f.Name, f.Unit, f.Value)
		}
		before := b.metrics(t)
		for _, f := range transfers(PASV, 16)(t, b)[:1] {
			note("1 KB files, PASV, 16 sessions", f.Unit, f.Value)
		}
		after := b.metrics(t)
		note("time of a packet in the daemon", "us", 1e6*(after["pasvport_packet_seconds_sum"]-before["pasvport_packet_seconds_sum"])/
			(after["pasvport_packet_seconds_count"]-before["pasvport_packet_seconds_count"]))
	}
	took, during := b.whileEnding(t, fw, func() bool { return b.metrics(t)["pasvport_sessions"] < 100 })
	note("all of them end, in", "ms", float64(took.Milliseconds()))
	note("NOOP round trip meanwhile p50", "us", during.at(0.5))
	note("NOOP round trip meanwhile p99", "us", during.at(0.99))
	b.restart(t)
	makeEntries(t, fw, n, idle)
	_, during = b.whileEnding(t, fw, func() bool { return true })
	note("NOOP round trip meanwhile p99, no daemon", "us", during.at(0.99))
	return figures
}

// roundTrips are sorted round-trip times.
type roundTrips []time.Duration

// at is a quantile, in microseconds.
func (r roundTrips) at(q float64) float64 {
	return float64(r[int(q*float64(len(r)-1))].Nanoseconds()) / 1000
}

// startScaled starts the daemon with metrics.
func (b *bench) startScaled(t *testing.T, what string) {
	b.daemon = b.site.StartDaemon(t, b.site.Firewalls[0], "--log-level", "info", "--metrics", scaleMetrics,
		"--max-sessions", "300000", "--max-client-sessions", "300000")
	t.Logf("%s: ready", what)
}

// whileEnding ends all idle sessions at once, and measures round trips of another
// one until they are gone.
func (b *bench) whileEnding(t *testing.T, fw *Host, done func() bool) (took time.Duration, times roundTrips) {
	start := time.Now()
	deleted := make(chan error, 1)
	go func() {
		_, err := fw.Run(time.Minute, Cmd("conntrack", "-D", "-p", "tcp", "--orig-port-dst", "21", "-s", "100.64.0.0", "--mask-src", "255.192.0.0"))
		deleted <- err
	}()
	for ended := false; !ended || !done(); {
		times = append(times, b.ask(t, request{Do: "noop", Count: 500}).Times...)
		select {
		case err := <-deleted:
			if ended = true; err != nil {
				t.Fatal(err)
			}
		default:
		}
		if time.Since(start) > time.Minute {
			t.Fatal("the sessions have not ended in a minute")
		}
	}
	slices.Sort(times)
	return time.Since(start), times
}

// metrics reads the daemon's Prometheus metrics that have no labels.
func (b *bench) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	return b.site.Firewalls[0].metrics(t)
}

// metrics reads the Prometheus metrics of a daemon on h that have no labels.
func (h *Host) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return h.Dial(netip.AddrPort{}, netip.MustParseAddrPort(scaleMetrics), 5*time.Second)
		}}}
	r, err := client.Get("http://" + scaleMetrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil && !math.IsNaN(v) {
			numbers[name] = v
		}
	}
	return numbers
}

// TestScaleReal does the same with sockets at both ends.
func TestScaleReal(t *testing.T) {
	p := position("routed")
	b := &bench{subject: Expectation, site: NewSiteOnly(t, p, AllowRelated, Expectation)}
	b.startEnds(t, b.site.Dial(b.site.Client, IPv4, 0), b.site.Server)
	b.startScaled(t, "alone")
	empty := b.metrics(t)
	alone := noop(t, b)
	a := b.ask(t, request{Do: "hold", Sessions: *scaleReal})
	full := b.metrics(t)
	if got := int(full["pasvport_sessions"]); got < *scaleReal {
		t.Errorf("%d sessions, want %d", got, *scaleReal)
	}
	beside := noop(t, b)
	fmt.Printf("\n%d real sessions, opened in %v: live heap %.0f, resident %.0f bytes each; NOOP p50 %.0f us alone, %.0f beside them; p99 %.0f and %.0f us\n",
		*scaleReal, a.Elapsed.Round(time.Millisecond),
		(full["go_memstats_next_gc_bytes"]-empty["go_memstats_next_gc_bytes"])/2/float64(*scaleReal),
		(full["process_resident_memory_bytes"]-empty["process_resident_memory_bytes"])/float64(*scaleReal),
		alone[0].Value, beside[0].Value, alone[1].Value, beside[1].Value)
}
