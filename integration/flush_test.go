// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// flushes is how often TestFlush flushes conntrack in all.
func flushes(t *testing.T) int {
	text := os.Getenv("PASVPORT_FLUSHES")
	if text == "" {
		return 60
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("PASVPORT_FLUSHES=%q: %v", text, err)
	}
	return n
}

// TestFlush flushes conntrack under silent sessions, all of which announce at
// once, within milliseconds: each gets its data connection. A session whose
// sequence numbers were adjusted cannot continue, and is reset.
func TestFlush(t *testing.T) {
	positions, subjects := []string{"routed", "masquerade", "dnat"}, []Subject{Expectation, Claim}
	rounds := max(1, flushes(t)/len(positions)/len(subjects))
	for _, p := range positions {
		for _, subject := range subjects {
			t.Run(p+"/"+subject.Name, func(t *testing.T) {
				needDaemon(t)
				s := NewSite(t, position(p), AllowRelated, subject)
				s.Case(Case{Kind: "flush"}).Count(t)
				ln := s.ListenControl(t, IPv4)
				var talks []*Dialogue
				for range 8 {
					talks = append(talks, s.Talk(t, ln, s.Client, IPv4))
				}
				for i := range rounds {
					if s.flushOnce(t, ln, talks, i); t.Failed() {
						t.Logf("%s", lastLines(s.Daemons[0].Output(), 100))
						return
					}
				}
			})
		}
	}
}

func (s *Site) flushOnce(t *testing.T, ln *net.TCPListener, talks []*Dialogue, round int) {
	t.Helper()
	var rewritten *Dialogue
	if s.Position.Name == "masquerade" {
		rewritten = s.Talk(t, ln, s.Client, IPv4)
		defer rewritten.Client.Close()
		defer rewritten.Server.Close()
		rewritten.Announce(PORT) // 10.7.0.2 becomes 203.0.113.171
		talks = append(talks[:len(talks):len(talks)], rewritten)
	}
	s.silent(t, talks...)
	if out, err := s.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-F")); err != nil {
		t.Fatalf("conntrack -F: %v: %s", err, out)
	}
	var wg sync.WaitGroup
	for i, d := range talks {
		wg.Go(func() {
			if d == rewritten {
				if err := d.nextIsReset(); err != nil {
					t.Errorf("flush %d, rewritten session: %v", round, err)
				}
				return
			}
			mode := []Mode{PASV, EPSV}[(i+round)%2]
			if s.Position.Name == "dnat" {
				mode = EPSV // other modes have an address, whose translation changes the length
			}
			if err := d.transfer(mode, resetTimeout); err != nil {
				t.Errorf("flush %d, session %d from %v, %s: %v", round, i, d.Client.LocalAddr(), mode, err)
			}
		})
	}
	wg.Wait()
}

// nextIsReset sends from the client, and reports anything but a reset.
func (d *Dialogue) nextIsReset() error {
	if _, err := io.WriteString(d.Client, "NOOP\r\n"); err != nil {
		return err
	}
	d.Client.SetReadDeadline(time.Now().Add(resetTimeout))
	if _, err := d.Client.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		return fmt.Errorf("the client got %v, want a reset", err)
	}
	return nil
}

// transfer makes one end announce a port, and the other open a data connection in
// time, and closes everything again. Unlike Announce, many goroutines may call it
// thousands of times.
func (d *Dialogue) transfer(m Mode, within time.Duration) error {
	host, addr, opener := d.listensAt(m)
	ln, err := host.Listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return err
	}
	defer ln.Close()
	o := &Offer{Opener: opener, listener: ln}
	go o.serve()
	if o.To, err = d.ask(m, addrOf(ln.Addr()), within); err != nil {
		return fmt.Errorf("announcement: %w", err)
	}
	c, err := o.Connect(opener, within)
	if err != nil {
		return fmt.Errorf("data connection to %v: %w", o.To, err)
	}
	return c.Close()
}

// ask is announce for many goroutines.
func (d *Dialogue) ask(m Mode, a netip.AddrPort, within time.Duration) (netip.AddrPort, error) {
	exchange := func(command, reply string) (toServer, toClient string, err error) {
		end := time.Now().Add(within)
		if _, err = io.WriteString(d.Client, command+"\r\n"); err != nil {
			return "", "", err
		}
		d.Server.SetReadDeadline(end)
		if toServer, err = d.heardByServer.ReadString('\n'); err != nil {
			return toServer, "", fmt.Errorf("the server, of %q: %w", command, err)
		}
		if _, err = io.WriteString(d.Server, reply+"\r\n"); err != nil {
			return toServer, "", err
		}
		d.Client.SetReadDeadline(end)
		if toClient, err = d.heardByClient.ReadString('\n'); err != nil {
			return toServer, toClient, fmt.Errorf("the client, of %q: %w", reply, err)
		}
		return toServer, toClient, nil
	}
	trim := func(line string) string { return line[:max(len(line)-2, 0)] }
	switch m {
	case PORT, EPRT:
		heard, _, err := exchange(string(m)+" "+argument(m, a), "200 "+string(m)+" command successful")
		if err != nil {
			return netip.AddrPort{}, err
		}
		return parseCommand(trim(heard))
	case PASV:
		_, heard, err := exchange("PASV", "227 Entering Passive Mode ("+argument(PORT, a)+").")
		if err != nil {
			return netip.AddrPort{}, err
		}
		return parseCommand("PORT " + numbers(heard))
	default:
		_, heard, err := exchange("EPSV", fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", a.Port()))
		if err != nil {
			return netip.AddrPort{}, err
		}
		return parseExtended(heard, addrOf(d.Client.RemoteAddr()).Addr())
	}
}
