// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what the daemon does and shows it to Prometheus.
//
// Everything that the packet path touches is an atomic number found before, by
// index or by field: no label is looked up and nothing is allocated per packet.
// The numbers are read when someone asks.
package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Pinholes counts the fates of pinholes. A pinhole that was opened is later used,
// expired or closed; a refused one was never opened.
type Pinholes struct {
	Open atomic.Int64 // open now

	Opened  atomic.Uint64
	Used    atomic.Uint64 // the data connection was opened
	Expired atomic.Uint64 // it was not opened in time
	Dropped atomic.Uint64 // it came, and was dropped
	Closed  atomic.Uint64 // the announcement was replaced, refused, or its session ended
	Refused atomic.Uint64 // the offer was refused
}

// Metrics are the metrics of one daemon, safe for concurrent use.
type Metrics struct {
	// Sessions is the current number of control connections.
	Sessions atomic.Int64

	// SessionsTotal is the number of control connections since the start.
	SessionsTotal atomic.Uint64

	// Heals is how often rules were put back that someone had removed.
	Heals atomic.Uint64

	// Pinholes are the permissions for data connections.
	Pinholes Pinholes

	// LoginFailures is how many logins servers have refused, and Encrypted how
	// many control connections switched to TLS.
	LoginFailures, Encrypted atomic.Uint64

	transfers [2][2]atomic.Uint64 // by upload and complete
	bytes     [2][2]atomic.Uint64 // by upload and active mode

	registry  *prometheus.Registry
	reasons   []string
	decisions []atomic.Uint64
	packet    prometheus.Histogram
	queues    *queues
	servers   *servers
}

// packetBuckets are in seconds: decoding takes microseconds, a pinhole some
// hundreds of them, and anything above a second was held.
var packetBuckets = []float64{
	5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6,
	1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 200e-3, 1,
}

// New returns metrics with one counter for each reason, in a registry of their
// own. The index of a reason is what Decision takes.
func New(reasons []string) *Metrics {
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		reasons:   reasons,
		decisions: make([]atomic.Uint64, len(reasons)),
		packet: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "pasvport_packet_seconds",
			Help:    "Time from receiving a control packet to its verdict.",
			Buckets: packetBuckets,
		}),
		queues:  &queues{},
		servers: &servers{},
	}
	m.registry.MustRegister(m.packet, m.queues, m.servers,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for i, reason := range reasons {
		m.counter("pasvport_decisions_total", "Decisions of the engine by reason.",
			prometheus.Labels{"reason": reason}, &m.decisions[i])
	}
	m.gauge("pasvport_sessions", "Control connections now.", &m.Sessions)
	m.counter("pasvport_sessions_total", "Control connections since the start.", nil, &m.SessionsTotal)
	m.counter("pasvport_heals_total", "Times our rules were put back.", nil, &m.Heals)
	m.counter("pasvport_login_failures_total", "Logins that servers refused.", nil, &m.LoginFailures)
	m.counter("pasvport_encrypted_sessions_total", "Control connections that switched to TLS.", nil, &m.Encrypted)
	for d, direction := range [2]string{"download", "upload"} {
		for r, result := range [2]string{"failed", "complete"} {
			m.counter("pasvport_transfers_total", "Transfers and lists by their final reply.",
				prometheus.Labels{"direction": direction, "result": result}, &m.transfers[d][r])
		}
		for a, mode := range [2]string{"passive", "active"} {
			m.counter("pasvport_transfer_bytes_total", "Bytes of data connections without headers; directions as the client sees them (needs nf_conntrack_acct).",
				prometheus.Labels{"direction": direction, "mode": mode}, &m.bytes[d][a])
		}
	}
	m.gauge("pasvport_pinholes", "Open pinholes now.", &m.Pinholes.Open)
	for event, n := range map[string]*atomic.Uint64{
		"opened": &m.Pinholes.Opened, "used": &m.Pinholes.Used, "expired": &m.Pinholes.Expired, "dropped": &m.Pinholes.Dropped,
		"closed": &m.Pinholes.Closed, "refused": &m.Pinholes.Refused,
	} {
		m.counter("pasvport_pinholes_total", "What became of pinholes.", prometheus.Labels{"event": event}, n)
	}
	return m
}

// Decision counts a decision of the engine. An index without a reason is not
// counted.
func (m *Metrics) Decision(reason int) {
	if uint(reason) < uint(len(m.decisions)) {
		m.decisions[reason].Add(1)
	}
}

// Transfer counts a transfer that has had its final reply.
func (m *Metrics) Transfer(upload, complete bool) {
	m.transfers[index(upload)][index(complete)].Add(1)
}

// Carried counts bytes of data connections, without headers.
func (m *Metrics) Carried(active bool, upload, download uint64) {
	m.bytes[index(false)][index(active)].Add(download)
	m.bytes[index(true)][index(active)].Add(upload)
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Decisions returns the counters by reason, those at zero left out.
func (m *Metrics) Decisions() map[string]uint64 {
	counts := map[string]uint64{}
	for i := range m.decisions {
		if n := m.decisions[i].Load(); n > 0 {
			counts[m.reasons[i]] = n
		}
	}
	return counts
}

// Packet records how long a packet waited for its verdict.
func (m *Metrics) Packet(d time.Duration) { m.packet.Observe(d.Seconds()) }

// Build adds a metric that is always 1, with labels that describe the binary.
func (m *Metrics) Build(version, commit, goVersion string) {
	one := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pasvport_build_info", Help: "1, with the version of this binary.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "goversion": goVersion}})
	one.Set(1)
	m.registry.MustRegister(one)
}

// AddExpectations adds gauges of how many expectations the kernel has and has
// room for.
func (m *Metrics) AddExpectations(f func() (n, most int)) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pasvport_expectations",
			Help: "Expectations in the kernel, of any helper."},
			func() float64 { n, _ := f(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pasvport_expectations_max",
			Help: "Most expectations that the kernel takes (nf_conntrack_expect_max)."},
			func() float64 { _, most := f(); return float64(most) }))
}

// AddHeld adds a gauge of the memory that sessions hold for what was said on them.
func (m *Metrics) AddHeld(bytes func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "pasvport_sessions_held_bytes",
			Help: "Memory that control connections hold, without lines in progress."},
		func() float64 { return float64(bytes()) }))
}

// CountUnread adds a counter of the lines that pass in the kernel.
func (m *Metrics) CountUnread(n func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: "pasvport_lines_unread_total", Help: "Lines that passed in the kernel, unread (fast-path)."},
		func() float64 { return float64(n()) }))
}

func (m *Metrics) counter(name, help string, labels prometheus.Labels, n *atomic.Uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
		func() float64 { return float64(n.Load()) }))
}

func (m *Metrics) gauge(name, help string, n *atomic.Int64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: name, Help: help},
		func() float64 { return float64(n.Load()) }))
}
