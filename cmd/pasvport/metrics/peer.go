// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// AddPeer adds the metrics of the other firewall of a pair. read is called at
// each scrape, from any goroutine.
func (m *Metrics) AddPeer(read func() *control.Peer) { m.registry.MustRegister(peer{read}) }

// peer is the collector of the other firewall.
type peer struct{ read func() *control.Peer }

var (
	peerUp       = prometheus.NewDesc("pasvport_peer_up", "Whether the daemons of the pair hear each other.", nil, nil)
	peerSince    = prometheus.NewDesc("pasvport_peer_since_timestamp_seconds", "Since when pasvport_peer_up has its value.", nil, nil)
	peerLag      = prometheus.NewDesc("pasvport_peer_lag_seconds", "Last time from a message to the other daemon's answer.", nil, nil)
	peerTold     = prometheus.NewDesc("pasvport_peer_sessions_told", "Control connections of this machine that the other one knows.", nil, nil)
	peerHeld     = prometheus.NewDesc("pasvport_peer_sessions_held", "Control connections of the other machine that are known here.", nil, nil)
	peerAdopted  = prometheus.NewDesc("pasvport_peer_adopted_total", "Control connections of the other machine that became live here.", nil, nil)
	peerWaits    = prometheus.NewDesc("pasvport_peer_waits_total", "Announcements that waited until the other daemon had them.", nil, nil)
	peerTakeOver = prometheus.NewDesc("pasvport_peer_take_over_timestamp_seconds", "When sessions of the other machine last became live here; 0: never.", nil, nil)
	peerTook     = prometheus.NewDesc("pasvport_peer_take_over_sessions", "How many became live then.", nil, nil)
)

// Describe implements prometheus.Collector.
func (p peer) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

// Collect implements prometheus.Collector.
func (p peer) Collect(ch chan<- prometheus.Metric) {
	s := p.read()
	add := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(d, kind, v)
	}
	up := 0.0
	if s.Link == control.PeerUp {
		up = 1
	}
	add(peerUp, prometheus.GaugeValue, up)
	add(peerSince, prometheus.GaugeValue, float64(s.Since.Unix()))
	add(peerLag, prometheus.GaugeValue, s.Lag)
	add(peerTold, prometheus.GaugeValue, float64(s.Told))
	add(peerHeld, prometheus.GaugeValue, float64(s.Held))
	add(peerAdopted, prometheus.CounterValue, float64(s.Adopted))
	add(peerWaits, prometheus.CounterValue, float64(s.Waits))
	at, sessions := 0.0, 0
	if x := s.TakeOver; x != nil {
		at, sessions = float64(x.At.UnixMilli())/1000, x.Sessions
	}
	add(peerTakeOver, prometheus.GaugeValue, at)
	add(peerTook, prometheus.GaugeValue, float64(sessions))
}
