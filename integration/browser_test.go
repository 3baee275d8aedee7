// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attack is a request that a browser is made to send to a control port, with an
// announcement of the client's port in it, and the server's behaviour.
type attack struct {
	Name   string `json:"name"`
	Method string `json:"method"`
	Form   bool   `json:"form"` // multipart, or text/plain
	Lead   int    `json:"lead"` // bytes of the body before the announcement
	Line   string `json:"line"`
	early  bool   // the server sends its 220 before it has received anything
	small  bool   // the server has a small window, so that the announcement begins a segment
}

// attacksOn are all attacks, with the victim's address in their announcements.
func attacksOn(victim netip.AddrPort) (list []*attack) {
	lines := map[string]string{
		"PORT": "PORT " + argument(PORT, victim),
		"EPRT": "EPRT " + argument(EPRT, victim),
		"227":  "227 Entering Passive Mode (" + argument(PORT, victim) + ").",
	}
	for _, early := range []bool{false, true} {
		for _, small := range []bool{false, true} {
			for _, form := range []bool{false, true} {
				for _, line := range []string{"PORT", "EPRT", "227"} {
					list = append(list, &attack{Method: "POST", Form: form, Line: lines[line], early: early, small: small})
				}
			}
			for _, method := range []string{"USER", "HELP", "NOOP", "FEAT", "PASS", "PASV", "PORT", "220"} {
				list = append(list, &attack{Method: method, Line: lines["PORT"], early: early, small: small})
			}
		}
	}
	for i, a := range list {
		verb, _, _ := strings.Cut(a.Line, " ")
		a.Name = fmt.Sprintf("%d-%s-%s-form-%t-early-%t-small-%t", i, a.Method, verb, a.Form, a.early, a.small)
	}
	return list
}

// attackPage sends the requests that the server names, one after another.
const attackPage = `<!doctype html><link rel=icon href=data:,><script>
(async () => {
  for (;;) {
    try {
      const a = await (await fetch("/next", {cache: "no-store"})).json()
      if (!a) break
      let body = "x".repeat(a.lead) + "\r\n" + a.line + "\r\n" + "y".repeat(2000)
      if (a.form) { const f = new FormData(); f.append("a", body); body = f }
      await fetch("/a/" + a.name, {method: a.method, body, cache: "no-store"})
    } catch {}
  }
})()
</script>`

// colluder is the attacker's server. It serves the page and, on the same port,
// answers a request as an FTP server would.
type colluder struct {
	t      *testing.T
	ln     *net.TCPListener
	victim *Offer
	from   *Host

	meeting sync.Mutex // held from the connection of an attack to its end

	mu    sync.Mutex
	left  []*attack // attacks that have not arrived as planned yet
	tries int       // number of attempts for the first one
	armed *attack   // attack that the next connection is for
	done  chan struct{}
}

// maxTries is how often an attack is tried until it arrives as planned: a browser
// opens connections that it does not use.
const maxTries = 8

// next arms the listener for the next attack, and returns it, or nil after the
// last.
func (c *colluder) next() *attack {
	c.meeting.Lock() // the browser gives up before the server has read everything
	defer c.meeting.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.left) > 0 && c.tries == maxTries {
		c.t.Errorf("%s did not arrive as planned", c.left[0].Name)
		c.left, c.tries = c.left[1:], 0
	}
	if len(c.left) == 0 {
		return nil
	}
	c.tries++
	c.armed = c.left[0]
	mss, room := 0, 1<<20
	if c.armed.small {
		mss, room = smallMSS, 2*smallMSS
	}
	raw, err := c.ln.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, room)
		})
	}
	if err != nil {
		c.t.Error(err)
	}
	return c.armed
}

// smallMSS is the segment size that the server asks for, and smallSegment what
// the timestamp option leaves of it.
const (
	smallMSS     = 536
	smallSegment = smallMSS - 12
)

// attackTimeout bounds an attack, whose connection may never be used.
const attackTimeout = 5 * time.Second

func (c *colluder) serve() {
	for {
		conn, err := c.ln.AcceptTCP()
		if err != nil {
			return
		}
		c.mu.Lock()
		a := c.armed
		c.armed = nil
		c.mu.Unlock()
		if a != nil {
			c.meeting.Lock()
		}
		go c.meet(conn, a)
	}
}

// meet handles a connection, which may be for an attack.
func (c *colluder) meet(conn *net.TCPConn, a *attack) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(lineTimeout))
	if a != nil {
		defer c.meeting.Unlock()
		conn.SetDeadline(time.Now().Add(attackTimeout))
		if a.early {
			io.WriteString(conn, "220 ready\r\n")
		}
	}
	var got bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &got))
	req, err := http.ReadRequest(in)
	switch {
	case err != nil:
	case req.URL.Path == "/":
		answer(conn, "text/html", attackPage)
	case req.URL.Path == "/next":
		next := c.next()
		text, _ := json.Marshal(next)
		if answer(conn, "application/json", string(text)); next == nil {
			close(c.done)
		}
	case a != nil && req.URL.Path == "/a/"+a.Name:
		c.collude(conn, req, a, &got)
	}
}

func answer(w io.Writer, kind, text string) {
	fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", kind, len(text), text)
}

// collude plays an FTP server to a request, and tries the announced port.
func (c *colluder) collude(conn *net.TCPConn, req *http.Request, a *attack, got *bytes.Buffer) {
	if !a.early {
		io.WriteString(conn, "220 ready\r\n")
	}
	for _, reply := range []string{"331 password", "230 welcome", "200 ok", "200 ok", "227 Entering Passive Mode (" + argument(PORT, addrOf(conn.LocalAddr())) + ")."} {
		io.CopyN(io.Discard, req.Body, 400)
		io.WriteString(conn, reply+"\r\n")
	}
	io.Copy(io.Discard, req.Body)
	io.WriteString(conn, "200 ok\r\n")

	o := &Offer{Opener: c.from, listener: c.victim.listener,
		To: netip.AddrPortFrom(addrOf(conn.RemoteAddr()).Addr(), addrOf(c.victim.listener.Addr()).Port())}
	if data, err := o.Connect(c.from, 50*time.Millisecond); err == nil {
		data.Close()
		c.t.Errorf("%s: the server connected to %v", a.Name, o.To)
	}
	at := bytes.Index(got.Bytes(), []byte("\r\n"+a.Line)) + 2
	c.mu.Lock()
	defer c.mu.Unlock()
	switch over := at % smallSegment; {
	case at < 2: // the browser closed before it had sent everything
	case a.small && over != 0:
		a.Lead += smallSegment - over
	default:
		c.left, c.tries = c.left[1:], 0
	}
}

// TestBrowser: a real browser on the inside talks to an attacker's server on a
// control port. Nothing opens, and a real FTP session works as ever.
func TestBrowser(t *testing.T) {
	needDaemon(t)
	needPrograms(t, "chromium")
	for _, p := range []Position{
		{Name: "routed", Dialled: []uint16{8021}, Ports: "8021"},
		{Name: "masquerade", Dialled: []uint16{8021}, Ports: "8021", Hidden: true, NAT: []NAT{{Post: masquerade}}},
	} {
		for name, flags := range map[string][]string{"default": nil, "strict": {"--checks", "strict"}} {
			t.Run(p.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := NewSite(t, p, AllowRelated, Auto, flags...)
				s.Case(Case{Kind: "browser", Client: "chromium"}).Count(t)
				s.browse(t)
			})
		}
	}
}

// browseTimeout bounds a browser's start and all its requests.
const browseTimeout = 2 * time.Minute

func (s *Site) browse(t *testing.T) {
	ln := s.ListenControl(t, IPv4)
	victim := &Offer{listener: s.listen(t, s.Client, s.ClientAddr(IPv4))}
	go victim.serve()
	c := &colluder{t: t, ln: ln, victim: victim, from: s.Server, done: make(chan struct{})}
	c.left = attacksOn(addrOf(victim.listener.Addr()))
	served := make(chan struct{})
	go func() { defer close(served); c.serve() }()
	browser, err := s.Client.Start(Cmd("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+filepath.Join(s.Client.Dir, "chromium"), "http://"+s.Dial(s.Client, IPv4, 0).String()+"/"))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.done:
	case <-time.After(browseTimeout * slowness):
		c.mu.Lock()
		t.Errorf("%d attacks remain after %v\n%s", len(c.left), browseTimeout, browser.Output())
		c.mu.Unlock()
	}
	if err := browser.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	browser.Wait(10 * time.Second)
	ln.Close()
	<-served
	if out := s.Daemons[0].Output(); strings.Contains(out, `msg="pinhole opened"`) {
		t.Errorf("something was opened:\n%s", out)
	}
	if rules := s.Firewalls[0].Rules(t); openElements(rules) > 0 {
		t.Errorf("something is open:\n%s", rules)
	}
	if victim.accepted.Load() > 0 {
		t.Error("the victim was reached")
	}
	s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4).Announce(PORT).MustOpen(t)
}
