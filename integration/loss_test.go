// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// openFirewall is the baseline: no daemon, and a ruleset that forwards
// everything.
var openFirewall = Subject{Name: "open firewall"}

// The number of sessions of each kind that run at once, and the share of packets
// lost on each of four paths: before and behind the firewall, in both directions.
const (
	lossSessions = 200
	lossOneIn    = 10
	// lossLimit is how long a session may take. A line that is lost seven times
	// in a row costs 25 s, as TCP doubles its timeout each time.
	lossLimit = 2 * time.Minute
	// dataPatience lets a SYN be retransmitted five times, in 31 s. With 3 % loss
	// on each of four paths, one in eight gets no answer.
	dataPatience = 45 * time.Second
)

// TestLoss counts the control connections that survive packet loss, with and
// without pasvport. Each switches modes where lengths change, pipelines
// announcements so that several changes are in flight at once, and checks every
// line. With pasvport it also opens data connections at the end.
func TestLoss(t *testing.T) {
	needDaemon(t)
	survived := new(lossTable)
	t.Cleanup(func() { survived.compare(t) })
	for _, p := range []string{"masquerade", "dnat", "both-nat"} {
		for _, s := range []Subject{Expectation, Claim, openFirewall} {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(p), AllowRelated, s)
				site.Case(Case{Family: IPv4, Kind: "loss"}).Count(t)
				if s == openFirewall {
					site.Firewalls[0].LoadRules(t, "insert rule inet filter forward accept")
				}
				site.patience(t)
				site.startNumbered(t, site.translates() && s != openFirewall)
				oneIn := envInt(t, "PASVPORT_LOSS_ONE_IN", lossOneIn)
				run := site.runLoss(t, envInt(t, "PASVPORT_LOSS_SESSIONS", lossSessions), func() { site.lose(t, oneIn) })
				run.before, run.behind = site.lost(t)
				if run.before == 0 || run.behind == 0 {
					t.Errorf("nothing was lost: %d packets before, %d behind", run.before, run.behind)
				}
				survived.add(p, s, run)
			})
		}
	}
}

// translates reports whether the client's address is translated.
func (s *Site) translates() bool { return s.Position.Hidden }

// lossRun is the outcome of the sessions of one site.
type lossRun struct {
	tried          int
	before, behind int // packets lost
	longest        time.Duration
	died           []error
}

// runLoss logs n sessions in, and then makes the network lossy. Retransmitted
// handshakes would teach TCP a round-trip time, and so a timeout, of seconds.
func (s *Site) runLoss(t *testing.T, n int, spoil func()) *lossRun {
	t.Helper()
	sessions := make([]*numberedSession, n)
	errs := make([]error, n)
	each := func(f func(i int) error) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { errs[i] = f(i) })
		}
		wg.Wait()
	}
	each(func(i int) (err error) {
		h := []*Host{s.Client, s.Client2}[i%2]
		sessions[i], err = numberedLogin(h, i, s.Dial(h, IPv4, 0), s.translates() && s.Subject != openFirewall)
		return err
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("before any loss: %v", err)
	}
	spoil()
	run := &lossRun{tried: n}
	began := time.Now()
	each(func(i int) error {
		err := s.lossSession(sessions[i], i)
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, s.ends(sessions[i]))
		}
		sessions[i].c.Close()
		return err
	})
	run.longest = time.Since(began)
	for i, err := range errs {
		if err != nil {
			run.died = append(run.died, fmt.Errorf("session %d: %w", i, err))
		}
	}
	return run
}

// lossSession is one session of six rounds. Texts grow for the first client, and
// shrink for the second.
func (s *Site) lossSession(l *numberedSession, i int) error {
	l.limit(lossLimit)
	modes := IPv4.Modes()
	for round := range 6 {
		if err := l.round(modes[(i/2+round)%len(modes)], round%2 == 1); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	for _, m := range []Mode{PASV, PORT} {
		if s.Subject == openFirewall {
			break // no one translates announcements
		}
		if err := l.transfer(m); err != nil {
			return fmt.Errorf("data: %w", err)
		}
	}
	return nil
}

// patience keeps TCP's retransmission timeout from growing beyond a second, where
// the kernel supports that (6.15): a session without progress in a minute is then
// stuck, and not just unlucky. Sockets take the setting when they are made.
func (s *Site) patience(t *testing.T) {
	t.Helper()
	for _, h := range []*Host{s.Client, s.Client2, s.Server} {
		if err := h.Sysctl("net/ipv4/tcp_rto_max_ms", "1000"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// ends describes a stalled connection as its two ends see it.
func (s *Site) ends(l *numberedSession) string {
	port := fmt.Sprint(addrOf(l.c.LocalAddr()).Port())
	var b strings.Builder
	for _, h := range []*Host{l.host, s.ServerHost()} {
		out, err := h.Run(10*time.Second, Cmd("ss", "-tinmoe", "sport", "=", port, "or", "dport", "=", port))
		fmt.Fprintf(&b, "%s: %s %v\n", h.name, out, err)
	}
	out, err := s.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-L", "-p", "tcp", "--orig-port-src", port))
	fmt.Fprintf(&b, "%s %v\n", out, err)
	for _, d := range s.Daemons { // an open firewall has no daemons
		for line := range strings.Lines(d.Output()) {
			if strings.Contains(line, addrOf(l.c.LocalAddr()).String()) {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

// exchange sends commands one after the other, and reads the reply to each.
func (s *numberedSession) exchange(lines ...string) error {
	for pair := range slices.Chunk(lines, 2) {
		if err := s.say(pair[0]); err != nil {
			return err
		}
		if err := s.expect(pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// round is an announcement between numbered commands, all at once or one after
// the other.
func (s *numberedSession) round(m Mode, pipelined bool) error {
	if !pipelined {
		if err := s.exchange(s.noop()); err != nil {
			return err
		}
		if err := s.say(s.announcement(m)); err != nil {
			return err
		}
		_, err := s.answered(m)
		return err
	}
	first, firstReply := s.noop()
	last, lastReply := s.noop()
	if err := s.say(first, s.announcement(m)); err != nil {
		return err
	}
	if err := s.say(s.announcement(PORT), last); err != nil {
		return err
	}
	if err := s.expect(firstReply); err != nil {
		return err
	}
	for _, m := range []Mode{m, PORT} {
		if _, err := s.answered(m); err != nil {
			return err
		}
	}
	return s.expect(lastReply)
}

// transfer fetches a file.
func (s *numberedSession) transfer(m Mode) error {
	own := netip.AddrPortFrom(addrOf(s.c.LocalAddr()).Addr(), 0)
	ln, err := s.host.Listen(own)
	if err != nil {
		return err
	}
	defer ln.Close()
	ln.SetDeadline(s.end)
	line := string(m)
	if m.Active() {
		line += " " + argument(m, addrOf(ln.Addr()))
	}
	if err := s.say(line); err != nil {
		return err
	}
	to, err := s.answered(m)
	if err == nil {
		err = s.say("RETR small")
	}
	if err != nil {
		return err
	}
	var data net.Conn
	if m.Active() {
		data, err = ln.Accept()
	} else {
		data, err = s.host.Dial(netip.AddrPort{}, to, time.Until(s.end))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m, err)
	}
	defer data.Close()
	data.SetDeadline(s.end)
	if n, err := io.Copy(io.Discard, data); err != nil || n != miniSmall {
		return fmt.Errorf("%s: %d bytes: %w", m, n, err)
	}
	return errors.Join(s.expect("150 here it comes"), s.expect("226 done"))
}

// lossTable has the runs of all sites.
type lossTable struct {
	mu   sync.Mutex
	runs map[string]map[string]*lossRun // position, subject
}

func (l *lossTable) add(position string, s Subject, r *lossRun) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs == nil {
		l.runs = make(map[string]map[string]*lossRun)
	}
	if l.runs[position] == nil {
		l.runs[position] = make(map[string]*lossRun)
	}
	l.runs[position][s.Name] = r
	fmt.Printf("loss %-22s %-13s %d of %d survived, %d packets lost before and %d behind the firewall, longest %v\n",
		position, s.Name, r.tried-len(r.died), r.tried, r.before, r.behind, r.longest.Round(time.Millisecond))
}

// compare fails the test where more sessions died than without pasvport.
func (l *lossTable) compare(t *testing.T) {
	for position, runs := range l.runs {
		without := 0
		if r := runs[openFirewall.Name]; r != nil {
			without = len(r.died)
		}
		for subject, r := range runs {
			if len(r.died) > without {
				t.Errorf("%s, %s: %d sessions died, %d on an open firewall: %s",
					position, subject, len(r.died), without, texts(r.died))
			}
		}
	}
}

func texts(errs []error) string {
	var b strings.Builder
	for _, err := range errs[:min(len(errs), 10)] {
		fmt.Fprintf(&b, "\n\t%v", err)
	}
	return b.String()
}
