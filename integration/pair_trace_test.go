// SPDX-License-Identifier: Apache-2.0

package integration

import (
	bin "encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// trace has the packets of the control connections of a pair, as both ends and
// both machines saw them, so that one failure shows what went wrong. It costs one
// system call per packet, and no switch between threads: the kernel notes when
// packets came, and they are fetched a moment later.
type trace struct {
	f    *FirewallPair
	taps []*tap
	done chan struct{}

	mu   sync.Mutex
	seen map[uint16][]sighting // by the client's port
}

// tap is an interface at which packets are seen.
type tap struct {
	where string
	fd    int
}

// sighting is a packet at a place.
type sighting struct {
	at       time.Time
	where    string
	outgoing bool
	packet   []byte // its beginning
	length   int
}

const (
	traceEvery = 20 * time.Millisecond
	traceBytes = 200     // of each packet
	traceRoom  = 8 << 20 // of the kernel for a tap
	traceOf    = 2000    // packets of one port
)

// controlFilter accepts TCP packets of control connections: with port 21, or 2121 of a
// server behind a translation.
var controlFilter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 0},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xf0},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x60, Jt: 4},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x40, Jf: 13},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
	{Code: unix.BPF_JMP | unix.BPF_JA, K: 2},
	{Code: unix.BPF_LDX | unix.BPF_W | unix.BPF_IMM, K: 40},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jf: 7},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 0},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 21, Jt: 4},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 2121, Jt: 3},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 21, Jt: 1},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 2121, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// isControl reports whether a port is that of a server.
func isControl(port uint16) bool { return port == 21 || port == 2121 }

// newTrace begins to trace; the end of the test ends it.
func newTrace(t *testing.T, f *FirewallPair) *trace {
	t.Helper()
	r := &trace{f: f, done: make(chan struct{}), seen: map[uint16][]sighting{}}
	at := []struct {
		h   *Host
		dev string
	}{{f.Client, "eth0"}, {f.Server, "eth0"}}
	for _, m := range f.Machines {
		at = append(at, struct {
			h   *Host
			dev string
		}{m.Host, "in0"}, struct {
			h   *Host
			dev string
		}{m.Host, "out0"})
	}
	for _, x := range at {
		fd, err := tapAt(x.h, x.dev)
		if err != nil {
			t.Fatalf("capture at %s: %v", x.h.Role, err)
		}
		r.taps = append(r.taps, &tap{x.h.Role + " " + x.dev, fd})
	}
	var wg sync.WaitGroup
	wg.Go(r.run)
	t.Cleanup(func() {
		close(r.done)
		wg.Wait()
		for _, x := range r.taps {
			unix.Close(x.fd)
		}
	})
	return r
}

// tapAt opens a socket that receives what passes an interface in either direction.
func tapAt(h *Host, dev string) (fd int, err error) {
	link, err := h.Links.LinkByName(dev)
	if err != nil {
		return -1, err
	}
	doErr := h.Do(func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		program := unix.SockFprog{Len: uint16(len(controlFilter)), Filter: unsafe.SliceData(controlFilter)}
		for _, set := range []func() error{
			func() error { return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program) },
			func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, traceRoom) },
			func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) },
			func() error {
				const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
				return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
			},
		} {
			if err := set(); err != nil {
				unix.Close(fd)
				return err
			}
		}
		return nil
	})
	return fd, doErr
}

func (r *trace) run() {
	tick := time.NewTicker(traceEvery)
	defer tick.Stop()
	for {
		r.fetch()
		select {
		case <-r.done:
			return
		case <-tick.C:
		}
	}
}

// fetch takes what has come to the taps.
func (r *trace) fetch() {
	buf, oob := make([]byte, traceBytes), make([]byte, 64)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.taps {
		for {
			n, on, _, from, err := unix.Recvmsg(x.fd, buf, oob, unix.MSG_TRUNC)
			if err == unix.EAGAIN {
				break
			}
			if err != nil { // an interface has gone down
				continue
			}
			ll, _ := from.(*unix.SockaddrLinklayer)
			s := sighting{at: stampOf(oob[:on]), where: x.where, outgoing: ll != nil && ll.Pkttype == unix.PACKET_OUTGOING,
				length: n, packet: slices.Clone(buf[:min(n, len(buf))])}
			r.enter(s)
		}
	}
}

// stampOf is the kernel's time of a packet.
func stampOf(oob []byte) time.Time {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(list) == 0 || len(list[0].Data) < 16 {
		return time.Now()
	}
	d := list[0].Data
	return time.Unix(int64(bin.NativeEndian.Uint64(d)), int64(bin.NativeEndian.Uint64(d[8:])))
}

func (r *trace) enter(s sighting) {
	h := s.segment()
	if h == nil {
		return
	}
	port := bin.BigEndian.Uint16(h)
	if isControl(port) {
		port = bin.BigEndian.Uint16(h[2:])
	}
	list := append(r.seen[port], s)
	if len(list) > traceOf {
		list = slices.Delete(list, 0, traceOf/2)
	}
	r.seen[port] = list
}

// segment is the TCP header and what is known of the payload, or nil.
func (s *sighting) segment() []byte {
	n := 40
	if s.packet[0]>>4 == 4 {
		n = int(s.packet[0]&0xf) * 4
	}
	if len(s.packet) < n+20 {
		return nil
	}
	return s.packet[n:]
}

// forget forgets what was seen of a port, except the last packets: they are part of
// what happens to the next connection with this port.
func (r *trace) forget(port uint16) {
	const last = 12
	r.mu.Lock()
	defer r.mu.Unlock()
	if list := r.seen[port]; len(list) > last {
		r.seen[port] = slices.Clone(list[len(list)-last:])
	}
}

// unanswered are the client's ports from which a connection was tried in vain.
func (r *trace) unanswered(during span) (ports []uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for port, list := range r.seen {
		asked, answered := false, false
		for _, s := range list {
			h := s.segment()
			switch {
			case s.at.Before(during.from) || s.at.After(during.to) || s.where != "client eth0":
			case s.outgoing:
				asked = asked || h[13]&0x12 == 0x02
			default:
				answered = answered || h[13]&0x12 == 0x12
			}
		}
		if asked && !answered {
			ports = append(ports, port)
		}
	}
	return ports
}

// failed logs what is known of a control connection if the test has failed.
func (r *trace) failed(t *testing.T, port uint16, since time.Time) {
	if t.Failed() {
		var b strings.Builder
		r.write(&b, port, span{since, time.Now()})
		t.Log(&b)
	}
}

// write writes what is known of a control connection: packets, log lines of both
// daemons, and entries of conntrack and conntrackd.
func (r *trace) write(b *strings.Builder, port uint16, life span) {
	r.fetch()
	r.mu.Lock()
	list := slices.Clone(r.seen[port])
	r.mu.Unlock()
	slices.SortStableFunc(list, func(a, b sighting) int { return a.at.Compare(b.at) })
	fmt.Fprintf(b, "packets of the client's port %d:\n", port)
	var first [2]*uint32
	for i := range list {
		list[i].write(b, &first)
	}
	for _, m := range r.f.Machines {
		r.known(b, m, port, life)
	}
}

// write writes a packet in a line. first are the first numbers of both ends.
func (s *sighting) write(b *strings.Builder, first *[2]*uint32) {
	h := s.segment()
	from, to := addr4(s.packet[12:]), addr4(s.packet[16:])
	if s.packet[0]>>4 == 6 {
		from, to = addr6(s.packet[8:]), addr6(s.packet[24:])
	}
	arrow := "in "
	if s.outgoing {
		arrow = "out"
	}
	of := 0
	if isControl(bin.BigEndian.Uint16(h)) {
		of = 1
	}
	seq, ack, flags := bin.BigEndian.Uint32(h[4:]), bin.BigEndian.Uint32(h[8:]), h[13]
	if first[of] == nil || flags&0x02 != 0 {
		first[of] = &seq
	}
	fmt.Fprintf(b, "%s %-11s %s %s > %s %s seq %d", s.at.Format("15:04:05.000000"), s.where, arrow,
		netip.AddrPortFrom(from, bin.BigEndian.Uint16(h)), netip.AddrPortFrom(to, bin.BigEndian.Uint16(h[2:])), flagText(flags), int32(seq-*first[of]))
	if flags&0x02 != 0 {
		fmt.Fprintf(b, " (%d)", seq)
	}
	if flags&0x10 != 0 && first[1-of] != nil {
		fmt.Fprintf(b, " ack %d", int32(ack-*first[1-of]))
	}
	head := int(h[12]>>4) * 4
	if n := s.length - (len(s.packet) - len(h)) - head; n > 0 && len(h) >= head {
		fmt.Fprintf(b, " %d bytes %q", n, h[head:min(len(h), head+n)])
	}
	b.WriteByte('\n')
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
func addr6(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }

func flagText(flags byte) string {
	var b strings.Builder
	for i, c := range "FSRPAU" {
		if flags>>i&1 != 0 {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// known writes what a machine knows of a control connection, and what its daemons had
// to say on no session in particular meanwhile.
func (r *trace) known(b *strings.Builder, m *PairMachine, port uint16, life span) {
	ofPort := regexp.MustCompile(fmt.Sprintf(`sport=(2?1?21 dport=%d|%d dport=2?1?21) `, port, port))
	dump := func(title string, c Command) {
		out, _ := m.Run(10*time.Second, c)
		for line := range strings.Lines(out) {
			if ofPort.MatchString(line) {
				fmt.Fprintf(b, "%s: %s: %s\n", m.Role, title, strings.TrimSpace(line))
			}
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		dump("conntrack", Cmd("conntrack", "-L", "-f", family, "-p", "tcp", "-o", "id"))
	}
	for _, which := range []string{"-i", "-e"} {
		if c, err := m.unpacked("conntrackd", "-C", filepath.Join(m.Dir, "conntrackd.conf"), which); err == nil {
			dump("conntrackd "+which, c)
		}
	}
	ofSession := regexp.MustCompile(fmt.Sprintf(`[0-9\]]:%d\b`, port))
	m.mu.Lock()
	procs := slices.Clone(m.procs)
	m.mu.Unlock()
	from, to := life.from.Add(-2*time.Second), life.to.Add(time.Second)
	for _, p := range procs {
		text, err := os.ReadFile(p.Log)
		if err != nil || !strings.Contains(p.Log, "pasvport") {
			continue
		}
		for line := range strings.Lines(string(text)) {
			at, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
			when, err := time.Parse(time.RFC3339Nano, at)
			if err != nil || when.Before(from) || when.After(to) {
				continue
			}
			if ofSession.MatchString(line) || !strings.Contains(line, "client=") && !strings.Contains(line, "level=DEBUG") {
				fmt.Fprintf(b, "%s (pid %d): %s\n", m.Role, p.Pid, strings.TrimSpace(line))
			}
		}
	}
}
