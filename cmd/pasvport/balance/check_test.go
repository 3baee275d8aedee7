// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// needRights skips tests that set SO_PRIORITY.
func needRights(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SO_PRIORITY needs CAP_NET_ADMIN")
	}
}

// speak accepts connections, sends the first text, and answers each line with the
// text of its verb. It returns its address and the lines that it received.
func speak(t *testing.T, ln net.Listener, first string, answers map[string]string) (netip.AddrPort, <-chan string) {
	t.Helper()
	t.Cleanup(func() { ln.Close() })
	lines := make(chan string, 100)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, first)
			in := bufio.NewScanner(c)
			for in.Scan() {
				lines <- in.Text()
				verb, _, _ := strings.Cut(in.Text(), " ")
				_, _ = io.WriteString(c, answers[verb])
			}
			c.Close()
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String()), lines
}

func local(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestCheck(t *testing.T) {
	needRights(t)
	login := map[string]string{"USER": "331 go on\r\n", "PASS": "230 in\r\n", "QUIT": "221 bye\r\n"}
	for _, tt := range []struct {
		name, first string
		answers     map[string]string
		user        string
		want        string // part of the error; empty: none
		lines       string
	}{
		{"greeting", "220 hello\r\n", login, "", "", "QUIT"},
		{"greeting of many lines", "220-hello\r\n220-\r\n 220 no\r\n220 end\r\n", login, "", "", "QUIT"},
		{"no answer to QUIT", "220 hello\r\n", nil, "", "", "QUIT"},
		{"busy", "421 too many\r\n", login, "", `connection answered with "421 too many", want 220`, ""},
		{"later", "120 in a minute\r\n", login, "", `"120 in a minute", want 220`, ""},
		{"another protocol", "SSH-2.0-x\r\n", login, "", "no reply of FTP", ""},
		{"a longer code", "2200 hello\r\n", login, "", "no reply of FTP", ""},
		{"silence", "", login, "", "no answer in time", ""},
		{"half a line", "220 hel", login, "", "no answer in time", ""},
		{"no end", strings.Repeat("x", 10000), login, "", "buffer full", ""},
		{"endless", strings.Repeat("220-x\r\n", 1000), login, "", "no reply of FTP", ""},
		{"login", "220 hello\r\n", login, "probe", "", "USER probe,PASS secret,QUIT"},
		{"login without password", "220 hello\r\n", map[string]string{"USER": "230 in\r\n"}, "probe", "", "USER probe,QUIT"},
		{"login refused", "220 hello\r\n", map[string]string{"USER": "331 go on\r\n", "PASS": "530 no\r\n"}, "probe",
			`PASS answered with "530 no", want 230`, "USER probe,PASS secret"},
		{"user refused", "220 hello\r\n", map[string]string{"USER": "530 no\r\n"}, "probe", `USER answered with "530 no", want 230 331`, "USER probe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr, lines := speak(t, local(t), tt.first, tt.answers)
			k := config.Check{Timeout: time.Minute, User: tt.user, Password: "secret"}
			switch {
			case tt.want == "no answer in time":
				k.Timeout = 100 * time.Millisecond
			case tt.want == "" && tt.answers["QUIT"] == "": // which is waited for
				k.Timeout = 2 * time.Second
			}
			err := check(context.Background(), addr, k, false)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			for want := range strings.SplitSeq(tt.lines, ",") {
				if want == "" {
					break
				}
				if got := <-lines; got != want {
					t.Errorf("the server received %q, want %q", got, want)
				}
			}
		})
	}
}

func TestCheckNobody(t *testing.T) {
	needRights(t)
	ln := local(t)
	addr := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	err := check(context.Background(), addr, config.Check{Timeout: time.Minute}, false)
	if err == nil || err.Error() != "connection refused" {
		t.Errorf("error %v, want connection refused", err)
	}
}

// TestCheckStops: a stop does not wait for a silent server.
func TestCheckStops(t *testing.T) {
	needRights(t)
	addr, _ := speak(t, local(t), "", nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- check(ctx, addr, config.Check{Timeout: time.Hour}, false) }()
	time.AfterFunc(50*time.Millisecond, cancel)
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the check continues")
	}
}

func TestCheckEncrypted(t *testing.T) {
	needRights(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ln := tls.NewListener(local(t), &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	addr, _ := speak(t, ln, "220 hello\r\n", map[string]string{"QUIT": "221 bye\r\n"})
	if err := check(context.Background(), addr, config.Check{Timeout: time.Minute}, true); err != nil {
		t.Error(err)
	}
	if err := check(context.Background(), addr, config.Check{Timeout: 300 * time.Millisecond}, false); err == nil {
		t.Error("a check without TLS succeeds at a TLS port")
	}
}
