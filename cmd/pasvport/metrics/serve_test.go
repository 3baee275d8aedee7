// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHome: a request for the address alone leads to the metrics.
func TestHome(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(nil).Serve(ctx, ln) }()
	for path, want := range map[string]int{"/": http.StatusOK, "/other": http.StatusNotFound} {
		resp, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || err != nil || want == http.StatusOK && !strings.Contains(string(body), `href="/metrics"`) {
			t.Errorf("%s: %s, %v: %s", path, resp.Status, err, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestServeBounded: a client that opens connections and sends nothing takes no
// more of the daemon than mostScrapes of them, and those for a limited time.
func TestServeBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(nil).Serve(ctx, ln) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	began := time.Now()
	var silent []net.Conn
	for range mostScrapes + 50 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	open := 0
	for _, c := range silent {
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		if e, ok := err.(net.Error); ok && e.Timeout() {
			open++
		}
	}
	if open != mostScrapes {
		t.Errorf("%d of %d silent connections are open, want %d", open, len(silent), mostScrapes)
	}
	for {
		resp, err := http.Get("http://" + ln.Addr().String() + "/metrics")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Since(began) > 6*headerTime {
			t.Fatalf("no answer after %v: %v", time.Since(began), err)
		}
		time.Sleep(50 * time.Millisecond) // a connection that is refused is closed at once
	}
}
