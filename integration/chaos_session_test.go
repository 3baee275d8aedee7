// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// chaosLimit is how long one data connection may take.
	chaosLimit = 20 * time.Second
	// cutLag is how long after an announcement the server may connect: TCP
	// retransmits a line that was lost with the link.
	cutLag = 2 * time.Second
	// chaosFile is the size of what is sent and echoed.
	chaosFile = 100_000
)

// serve starts the server, whose one file echoes what it receives.
func (c *chaos) serve(t *testing.T) {
	t.Helper()
	var listen []netip.AddrPort
	for _, f := range c.site.Position.families() {
		listen = append(listen, netip.AddrPortFrom(c.site.ServerAddr(f), 21))
	}
	m := startMini(t, c.site.ServerHost())
	m.files["echo"] = func(conn net.Conn) {
		conn.SetDeadline(time.Now().Add(chaosLimit))
		io.Copy(conn, conn)
	}
	m.listen(t, listen...)
}

// loop runs one session after the other until the end.
func (c *chaos) loop(i int) {
	rng := rand.New(rand.NewPCG(c.seed, uint64(i)+1))
	h := []*Host{c.site.Client, c.site.Client2}[i%2]
	for time.Now().Before(c.end) {
		f := []Family{IPv4, IPv6}[rng.IntN(2)]
		began := time.Now()
		o := c.session(h, f, rng)
		o.life = span{began, time.Now()}
		c.count(&o)
	}
}

// outcome is the result of a session.
type outcome struct {
	transfers       int
	life, announced span             // of the session, and from its last announcement to the data connection
	connected       time.Time        // zero: never
	used            []netip.AddrPort // see miniSession
	err             error
}

// session logs in, does some transfers, and ends.
func (c *chaos) session(h *Host, f Family, rng *rand.Rand) (o outcome) {
	s, err := miniLogin(h, c.site.Dial(h, f, 0))
	if s != nil {
		o.connected = s.connected
		defer func() { s.c.Close(); o.used = s.used }()
	}
	if err != nil {
		o.err = fmt.Errorf("login: %w", err)
		return o
	}
	defer func() {
		if o.err != nil {
			o.err = fmt.Errorf("client %s: %w", addrOf(s.c.LocalAddr()), o.err)
		}
	}()
	for range 1 + rng.IntN(5) {
		m := f.Modes()[rng.IntN(len(f.Modes()))]
		data := make([]byte, rng.IntN(chaosFile))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		if o.announced, err = s.echo(m, data); err != nil {
			o.err = fmt.Errorf("transfer %d, %s, %s: %w", o.transfers, f, m, err)
			return o
		}
		o.transfers++
		time.Sleep(20*time.Millisecond + time.Duration(rng.Int64N(int64(chaosPause-20*time.Millisecond))))
	}
	o.err = s.ask("QUIT", "221")
	return o
}

// echo sends data and compares the echo.
func (s *miniSession) echo(m Mode, data []byte) (announced span, err error) {
	announced.from = time.Now()
	open, err := s.announce(m)
	announced.to = time.Now()
	if err == nil {
		_, err = io.WriteString(s.c, "RETR echo\r\n")
	}
	if err != nil {
		return announced, fmt.Errorf("announcement: %w", err)
	}
	announced.to = time.Now()
	conn, err := open()
	if err != nil {
		return announced, fmt.Errorf("data connection: %w", s.explained(err))
	}
	announced.to = time.Now()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(chaosLimit))
	go func() {
		conn.Write(data)
		conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil {
		return announced, fmt.Errorf("data: %w", s.explained(err))
	}
	if a, b := sha256.Sum256(got), sha256.Sum256(data); !bytes.Equal(a[:], b[:]) {
		return announced, fmt.Errorf("%w: %d bytes came back of %d", errChecksum, len(got), len(data))
	}
	for _, code := range []string{"150", "226"} {
		if err := s.due(code); err != nil {
			return announced, fmt.Errorf("end of transfer: %w", err)
		}
	}
	return announced, nil
}

// explained adds the server's reply to the transfer to an error.
func (s *miniSession) explained(err error) error {
	for range 2 { // 150, then 226 or 425
		line, _ := s.reply()
		err = fmt.Errorf("%w (server: %q)", err, line)
	}
	return err
}

// chaosPause is the longest pause of a session between two transfers.
const chaosPause = 220 * time.Millisecond

// errChecksum is never excused.
var errChecksum = errors.New("checksum differs")

// isUnreachable reports whether a connection failed for lack of a link: the host
// itself notices, or the firewall reports it.
func isUnreachable(err error) bool {
	text := err.Error()
	return strings.Contains(text, "unreachable") || strings.Contains(text, "no route to host")
}

// last is when the session was last known to work.
func (o *outcome) last() time.Time {
	if o.announced.to.IsZero() {
		return o.life.from
	}
	return o.announced.to
}

// duringTakeOver excuses what conntrackd may not have synchronised yet.
const duringTakeOver = "began while another machine or daemon took over"

// asked is when a session asked for the connection that failed, which may be its
// own. That begins a second late if its ports were used before a failover.
func (o *outcome) asked() span {
	if o.announced.from.IsZero() {
		to := o.life.from
		if o.connected.After(to) {
			to = o.connected
		}
		return span{o.life.from, to.Add(time.Second)}
	}
	return o.announced
}

// count counts a session as completed, excused or failed, and returns the excuse.
func (c *chaos) count(o *outcome) (excuse string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hit := func(list []span, s span) bool {
		return slices.ContainsFunc(list, func(h span) bool { return h.overlaps(s) })
	}
	c.transfers += o.transfers
	for _, a := range o.used {
		// The last acknowledgements come after the session's end.
		c.used[a] = span{o.life.from, o.life.to.Add(time.Second)}
		c.ill[a] = o.err != nil
	}
	switch {
	case o.err == nil:
		c.completed++
		return ""
	case errors.Is(o.err, errChecksum):
	case hit(c.broken, o.life):
		excuse = "conntrack -F"
	case isUnreachable(o.err) && hit(c.cut, span{o.life.from, o.last().Add(cutLag)}):
		excuse = "unreachable while a link was down"
	case hit(c.taken, o.asked()):
		excuse = duringTakeOver
	case hit(c.crash, span{o.announced.from.Add(-chaosPause), o.announced.to}):
		// The first line that the next daemon reads opens nothing (docs/protocol.md).
		excuse = "announced as the first thing after a crash"
	case hit(c.unread, o.announced):
		excuse = "announced before the ruleset was back"
	case hit(c.unread, o.life):
		// The daemon does not know what passed meanwhile: it finds its place in
		// the dialogue a few lines later.
		excuse = "spoke before the ruleset was back"
	}
	if excuse == "" {
		at := o.life.from.Format(time.StampMilli)
		c.failed = append(c.failed, fmt.Errorf("%s, %v: %w", at, time.Since(o.life.from).Round(time.Millisecond), o.err))
		return ""
	}
	c.excused[excuse]++
	return excuse
}

// controls are the established control connections of a listing, except those
// whose end may have been lost: conntrack picks up midstream what it was made to
// forget, and never sees the end if one side is gone; and if an edited segment
// was lost while there was no daemon, and was retransmitted unedited
// (docs/operations.md), the ends are out of step.
func (c *chaos) controls(listing string) []string {
	return slices.DeleteFunc(strings.Split(listing, "\n"), func(l string) bool {
		return !strings.Contains(l, "ESTABLISHED") || !strings.Contains(l, " dport=21 ") ||
			slices.ContainsFunc(endsOf(l), func(a netip.AddrPort) bool {
				life, ok := c.used[a]
				return ok && (c.ill[a] || slices.ContainsFunc(c.broken, life.overlaps))
			})
	})
}

// endsOf are the addresses in both tuples of a line of conntrack -L.
func endsOf(entry string) (list []netip.AddrPort) {
	for _, m := range entryTuple.FindAllStringSubmatch(entry, -1) {
		for i := range 2 {
			if a, err := netip.ParseAddrPort(net.JoinHostPort(m[1+i], m[3+i])); err == nil {
				list = append(list, a)
			}
		}
	}
	return list
}
