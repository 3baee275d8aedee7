// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkKernelSettings is what settings cost a packet that passes the firewall,
// beside our table without them: one of a connection that is not FTP, and one with
// payload of a data connection. Both are measured in turn, in processor time of the
// thread that sends, so that what else the machine does is not in it.
func BenchmarkKernelSettings(b *testing.B) {
	for _, bb := range []struct {
		name string
		way  Way
		set  func(*Config)
	}{
		{"other/login-failures", WayAny, func(c *Config) { c.Block = true }},
		{"other/data-direction", WayAny, func(c *Config) { c.OneWay = true }},
		{"data/data-direction", WayOriginal, func(c *Config) { c.OneWay = true }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			n := newTopology(b)
			n.router.Run(b, "sh", "-c", "echo 1 > /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
			n.server.Load(b, "table ip none {\nchain nothing {\ntype filter hook prerouting priority -350; policy drop;\n}\n}")
			c := Config{Claim: true, Stale: true, Queue: testQueue(b, n.router)}
			f := installed(b, n.router, c)
			with := c
			bb.set(&with)
			size := 0
			if bb.way != WayAny {
				size = 1400
			}
			packet, id := passing(unix.IPPROTO_TCP, size), dataEntry(b, n.router)
			if bb.way == WayAny {
				n.router.Run(b, "conntrack", "-D", "-p", "tcp", "--dport", "9000")
				n.router.Run(b, "conntrack", "-I", "-p", "tcp", "-s", clientV4, "-d", serverV4, "--sport", "40000", "--dport", "9000",
					"--state", "ESTABLISHED", "-u", "SEEN_REPLY,ASSURED", "-t", "10000")
			}
			const round = 1000
			var more, without []float64
			for b.Loop() {
				times := [2]float64{}
				for i, c := range []Config{c, with} {
					if err := f.Reconfigure(c); err != nil {
						b.Fatal(err)
					}
					if c.OneWay && bb.way != WayAny {
						if err := f.Directions().Direct(id, bb.way); err != nil {
							b.Fatal(err)
						}
					}
					n.client.Do(b, func() error { return send(packet, round, &times[i]) })
				}
				without, more = append(without, times[0]), append(more, times[1]-times[0])
			}
			slices.Sort(more)
			slices.Sort(without)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(without[len(without)/2], "ns/packet")
			b.ReportMetric(more[len(more)/2], "ns/packet-more")
		})
	}
}

// send sends a packet many times, and says what processor time each took.
func send(packet []byte, times int, each *float64) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Addr: netip.MustParseAddr(serverV4).As4()}
	var begin, end unix.Timespec
	for i := range times + times/10 {
		if i == times/10 { // neighbours are known, and the caches warm
			unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &begin)
		}
		if err := unix.Sendto(fd, packet, 0, to); err != nil {
			return err
		}
	}
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &end)
	*each = float64(end.Nano()-begin.Nano()) / float64(times)
	return nil
}
