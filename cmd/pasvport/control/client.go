// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
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

// Servers asks for the servers of all virtual servers. The list is empty but
// never nil.
func (c *Client) Servers(ctx context.Context) ([]Server, error) {
	s := []Server{}
	err := c.get(ctx, serversPath, &s)
	return s, err
}

// Settings asks for the current settings.
func (c *Client) Settings(ctx context.Context, into any) error { return c.get(ctx, settingsPath, into) }

// Drain drains a server, or puts it back.
func (c *Client) Drain(ctx context.Context, name string, drain bool) error {
	method := http.MethodDelete
	if drain {
		method = http.MethodPut
	}
	return c.order(ctx, method, drainPath+"?name="+url.QueryEscape(name), fmt.Sprintf("server %q", name))
}

// End resets both ends of a session.
func (c *Client) End(ctx context.Context, id uint64) error {
	return c.order(ctx, http.MethodDelete, fmt.Sprintf("%s?id=%d", sessionsPath, id), fmt.Sprintf("session %d", id))
}

// Unblock lifts the block of a client.
func (c *Client) Unblock(ctx context.Context, client netip.Addr) error {
	return c.order(ctx, http.MethodDelete, blockedPath+"?client="+url.QueryEscape(client.String()), "client "+client.String())
}

// Reload makes the daemon read its configuration again. The error, a *FileError if
// the file is invalid, says what is wrong with it; the old one stays in force.
func (c *Client) Reload(ctx context.Context) error {
	return c.order(ctx, http.MethodPost, reloadPath, "configuration not reloaded")
}

// A FileError is about a configuration file that is invalid.
type FileError struct{ Err error }

// Error implements error.
func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// order requests an action. The daemon's objection becomes an error about what.
func (c *Client) order(ctx context.Context, method, path, what string) error {
	resp, err := c.do(ctx, method, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusUnprocessableEntity && resp.StatusCode != http.StatusBadRequest {
		return c.understood(resp)
	}
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	err = fmt.Errorf("%s: %s", what, bytes.TrimSpace(why))
	if resp.StatusCode == http.StatusBadRequest {
		err = &FileError{err}
	}
	return err
}

func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://pasvport"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	return resp, nil
}

// understood returns an error if the daemon does not know the request.
func (c *Client) understood(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("what answers on %s is not a pasvport daemon of this version: %s", c.path, resp.Status)
	}
	return nil
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	resp, err := c.do(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := c.understood(resp); err != nil {
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("the answer on %s cannot be read: %w", c.path, err)
	}
	return nil
}

// unreachable describes the error for the user.
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
