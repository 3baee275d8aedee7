// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// narrow shows how wide a pinhole is: who can use it, for what, and how often.
func (t *test) narrow() {
	t.show.scene("How wide is the hole? Others knock while it is open")
	t.show.text("The client has announced a port and waits; nothing has used the hole yet.")
	var c *client
	var open opener
	var at netip.AddrPort
	reported := t.witness.mark()
	announced := t.step("an announced port is a hole", func() (_ string, err error) {
		if c, err = login(t.client, t.address(server4), transferTimeout); err != nil {
			return "", err
		}
		if open, err = c.announce("PORT"); err != nil {
			return "", err
		}
		t.announced(c)
		if at, err = parseAnnouncedLine(t.server.lastAnnounced()); err != nil {
			return "", err
		}
		return "open", t.witness.open(reported)
	})
	if c != nil {
		defer c.close()
	}
	if !announced {
		return
	}
	t.knock("a stranger at the announced port is blocked", stranger4, at)
	t.knock("the server at the next port is blocked", server4, netip.AddrPortFrom(at.Addr(), at.Port()+1))
	t.show.text("Now the client asks for the file. It keeps listening afterwards and stays logged in.")
	used := t.step("the server at the announced port, once", func() (string, error) {
		if err := c.fetchFrom(open, t.server.file); err != nil {
			return "", err
		}
		return "works, and closes the hole", t.witness.closed(reported)
	})
	if used {
		t.knock("the server at the announced port, again, is blocked", server4, at)
	}
	if t.show == nil || t.daemon == nil {
		return
	}
	if list, err := t.daemon.sessions(t.network.firewall); err == nil {
		t.show.text("What the administrator sees meanwhile (pasvport sessions):")
		t.show.quote(list)
	}
}

// knock tries a connection from outside that must be dropped in silence.
func (t *test) knock(name string, from netip.Addr, to netip.AddrPort) {
	t.step(name, func() (string, error) {
		c, err := t.outside.Dial(netip.AddrPortFrom(from, 0), to, refusedAfter)
		if c != nil {
			_ = c.Close()
		}
		way := fmt.Sprintf("%s -> %s", from, to)
		return way, dropped(err, way)
	})
}

// dropped judges the result of a dial: only silence is right.
func dropped(err error, way string) error {
	var timeout net.Error
	switch {
	case err == nil:
		return fmt.Errorf("%s got through", way)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%s got through to a closed port", way)
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil
	}
	return err
}
