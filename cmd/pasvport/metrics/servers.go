// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// AddServers adds the metrics of the servers of virtual servers. read is called
// at each scrape, from any goroutine. AddServers must be called once, before
// that.
func (m *Metrics) AddServers(read func() []control.Server) { m.servers.read = read }

// servers is the collector of all servers.
type servers struct{ read func() []control.Server }

var (
	serverLabels   = []string{"virtual", "server", "address"}
	serverUp       = prometheus.NewDesc("pasvport_server_up", "Whether the checks of a server succeed.", serverLabels, nil)
	serverSessions = prometheus.NewDesc("pasvport_server_sessions", "Control connections of a server now.", serverLabels, nil)
	serverShare    = prometheus.NewDesc("pasvport_server_share", "A server's share of new sessions; 0 if it is down or drained.", serverLabels, nil)
)

// Describe implements prometheus.Collector.
func (s *servers) Describe(ch chan<- *prometheus.Desc) {
	ch <- serverUp
	ch <- serverSessions
	ch <- serverShare
}

// Collect implements prometheus.Collector.
func (s *servers) Collect(ch chan<- prometheus.Metric) {
	if s.read == nil {
		return
	}
	for _, c := range s.read() {
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, c.Virtual, c.Name, c.Address.String())
		}
		up := 0.0
		if c.Up {
			up = 1
		}
		gauge(serverUp, up)
		gauge(serverSessions, float64(c.Sessions))
		gauge(serverShare, c.Share)
	}
}
