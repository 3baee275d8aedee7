// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A transfer is one file sent in one FTP session, as the two ends saw it.
type transfer struct {
	order
	network *network
	process *process
	client  *journal[note] // what the client noted
	server  *journal[note] // what the server noted, all sessions
	mark    int            // where this session begins in server
	begun   time.Time
}

// begin starts a session; the transfer follows by itself, or at each word of go
// when the order asks for pauses.
func begin(ctx context.Context, n *network, self string, server *journal[note], o order) (*transfer, error) {
	o.addr = netip.AddrPortFrom(netip.MustParseAddr(serverAddr), 21).String()
	t := &transfer{order: o, network: n, client: newJournal[note](), server: server, mark: server.mark(), begun: time.Now()}
	args := []string{self, "client", "-addr", o.addr, "-verb", o.verb, "-upload", strconv.FormatInt(o.upload, 10)}
	if o.pause {
		args = append(args, "-pause")
	}
	var err error
	t.process, err = startPart(ctx, n.inside(n.client, args...), t.client)
	return t, err
}

// resume lets a session that stands still go on.
func (t *transfer) resume() error {
	_, err := t.process.stdin.Write([]byte("\n"))
	return err
}

// awaitPause waits until the session stands still at a place or has failed.
func (t *transfer) awaitPause(ctx context.Context, where string) error {
	reached := func(ns []note) bool {
		return slices.ContainsFunc(ns, func(n note) bool {
			return n.Kind == noteFailed || n.Kind == noteAsking && n.Text == where
		})
	}
	if !t.client.await(ctx, 10*time.Second, 0, reached) {
		return fmt.Errorf("the client never got to the point %q", where)
	}
	t.awaitServer(ctx)
	return t.failure()
}

// awaitServer waits for the server's notes on what the client has noted already:
// the two arrive on pipes of their own.
func (t *transfer) awaitServer(ctx context.Context) {
	t.server.await(ctx, clientTimeout, t.mark, func([]note) bool {
		sent, heard := t.announcements()
		return (sent.line == "") == (heard.line == "")
	})
	if _, uploaded := findFile(t.client.since(0), uploadName); uploaded {
		t.server.await(ctx, clientTimeout, t.mark, func(ns []note) bool {
			_, ok := findFile(ns, uploadName)
			return ok
		})
	}
}

// end waits for the end of the session.
func (t *transfer) end(ctx context.Context) error {
	if err := t.process.wait(); err != nil {
		return err
	}
	t.awaitServer(ctx)
	return nil
}

// failure is why the transfer did not work, nil if it did.
func (t *transfer) failure() error {
	for _, n := range t.client.since(0) {
		if n.Kind == noteFailed {
			return fmt.Errorf("%s", n.Text)
		}
	}
	return nil
}

// activeMode says whether the client announces the address.
func (t *transfer) activeMode() bool { return t.verb == "PORT" || t.verb == "EPRT" }

// announcements returns the line that announced the data connection's address as
// it was sent and as the other side heard it, with the addresses in them.
func (t *transfer) announcements() (sent, heard said) {
	from, to := t.client.since(0), t.server.since(t.mark)
	if !t.activeMode() {
		from, to = to, from
	}
	return findAnnouncement(from, noteSent), findAnnouncement(to, noteHeard)
}

// said is an announcement on the control connection.
type said struct {
	line string
	addr netip.AddrPort
}

func (s said) String() string {
	if s.line == "" {
		return "(nothing)"
	}
	return fmt.Sprintf("%-52s = %v", s.line, s.addr)
}

func findAnnouncement(ns []note, kind string) said {
	for _, n := range ns {
		if n.Kind != kind {
			continue
		}
		if addr, ok := parseAnnouncement(n.Text, netip.MustParseAddr(serverAddr)); ok {
			return said{n.Text, addr}
		}
	}
	return said{}
}

// loggedIn says whether the control connection got as far as a login.
func (t *transfer) loggedIn() bool {
	return slices.ContainsFunc(t.client.since(0), func(n note) bool {
		return n.Kind == noteHeard && strings.HasPrefix(n.Text, "230")
	})
}

// file returns the file as both ends have it; ok when they have the same.
func (t *transfer) file() (client, server note, ok bool) {
	name, place := downloadName, 0 // the server noted that file when it started
	if t.upload > 0 {
		name, place = uploadName, t.mark
	}
	client, inClient := findFile(t.client.since(0), name)
	server, inServer := findFile(t.server.since(place), name)
	return client, server, inClient && inServer && client.Size == server.Size && client.Sum == server.Sum
}

func findFile(ns []note, name string) (note, bool) {
	i := slices.IndexFunc(ns, func(n note) bool {
		return n.Kind == noteFile && strings.TrimPrefix(n.Name, "/") == name
	})
	if i < 0 {
		return note{}, false
	}
	return ns[i], true
}
