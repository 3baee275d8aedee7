// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// clientTimeout is how long a daemon may take to answer.
const clientTimeout = 10 * time.Second

// Client asks a daemon.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client of the daemon at a socket. It does not connect yet.
func NewClient(path string) *Client {
	var d net.Dialer
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
	return &Client{
		path: path,
		http: http.Client{Timeout: clientTimeout, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// Status asks for the status of the daemon.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.get(ctx, statusPath, &s)
	return s, err
}

// Sessions asks for the control connections. The list is empty but never nil.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	s := []Session{}
	err := c.get(ctx, sessionsPath, &s)
	return s, err
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pasvport"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("what answers on %s is not a pasvport daemon of this version: %s", c.path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("the answer on %s cannot be read: %w", c.path, err)
	}
	return nil
}

// unreachable says it in the words of the one who asked.
func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("no daemon answers on %s: %w (is it running, and with this --control-socket?)", c.path, err)
}
