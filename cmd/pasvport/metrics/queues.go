// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Queue is what a queue has counted since it was bound.
type Queue struct {
	Packets uint64 // received by us
	Waiting uint64 // in the kernel now
	Dropped uint64 // lost by the kernel: queue full, or no room in our socket
	ENOBUFS uint64 // times the kernel reported a lost message
}

// AddQueue adds the metrics of a queue. read is called at each scrape, from any
// goroutine.
func (m *Metrics) AddQueue(num uint16, read func() Queue) {
	m.queues.mu.Lock()
	defer m.queues.mu.Unlock()
	m.queues.list = append(m.queues.list, watched{strconv.Itoa(int(num)), read})
}

// watched is one queue and the value of its label.
type watched struct {
	num  string
	read func() Queue
}

// queues is the collector of all queues: each is read once per scrape, so that
// its figures are consistent.
type queues struct {
	mu   sync.Mutex
	list []watched
}

var (
	queuePackets = prometheus.NewDesc("pasvport_packets_total", "Control packets received from a queue.", []string{"queue"}, nil)
	queueWaiting = prometheus.NewDesc("pasvport_queue_waiting", "Packets that wait for a verdict; beyond 4096 --fail decides.", []string{"queue"}, nil)
	queueDropped = prometheus.NewDesc("pasvport_queue_dropped_total", "Packets that the kernel could not queue.", []string{"queue"}, nil)
	queueENOBUFS = prometheus.NewDesc("pasvport_queue_enobufs_total", "Times the queue's socket was full.", []string{"queue"}, nil)
)

// Describe implements prometheus.Collector.
func (q *queues) Describe(ch chan<- *prometheus.Desc) {
	ch <- queuePackets
	ch <- queueWaiting
	ch <- queueDropped
	ch <- queueENOBUFS
}

// Collect implements prometheus.Collector.
func (q *queues) Collect(ch chan<- prometheus.Metric) {
	q.mu.Lock()
	list := q.list
	q.mu.Unlock()
	for _, w := range list {
		n := w.read()
		count := func(d *prometheus.Desc, v uint64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), w.num)
		}
		count(queuePackets, n.Packets)
		ch <- prometheus.MustNewConstMetric(queueWaiting, prometheus.GaugeValue, float64(n.Waiting), w.num)
		count(queueDropped, n.Dropped)
		count(queueENOBUFS, n.ENOBUFS)
	}
}
