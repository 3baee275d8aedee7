// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// vsftpdTLS is vsftpd that requires encrypted sessions, and data connections that
// reuse the control connection's TLS session.
func vsftpdTLS(implicit bool) *ServerKind {
	k := *Vsftpd
	k.commands = func(h *Host, s *Server, program string, listen []netip.AddrPort) ([]Command, error) {
		commands, err := vsftpd(h, s, program, listen)
		if err != nil {
			return nil, err
		}
		cert, err := certificate(h)
		if err != nil {
			return nil, err
		}
		low, high, _ := strings.Cut(tlsRange, "-")
		more := fmt.Sprintf("ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\n"+
			"rsa_cert_file=%s\nrsa_private_key_file=%[1]s\nrequire_ssl_reuse=YES\npasv_min_port=%s\npasv_max_port=%s\n", cert, low, high)
		if implicit {
			more += "implicit_ssl=YES\n"
		}
		for i := range commands {
			conf := commands[i].Args[1]
			text, err := os.ReadFile(conf)
			if err != nil {
				return nil, err
			}
			if _, err = h.File(filepath.Base(conf), string(text)+more); err != nil {
				return nil, err
			}
		}
		return commands, nil
	}
	return &k
}

// proftpdTLS is proftpd that requires encrypted sessions, and data connections
// that reuse the control connection's TLS session, which is mod_tls's default. It
// uses TLS 1.2, as not every client receives its TLS 1.3 ticket in time.
func proftpdTLS() *ServerKind {
	k := *Proftpd
	k.commands = func(h *Host, s *Server, program string, listen []netip.AddrPort) ([]Command, error) {
		commands, err := proftpd(h, s, program, listen)
		if err != nil {
			return nil, err
		}
		cert, err := certificate(h)
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(cert, 0o600); err != nil {
			return nil, err
		}
		conf := filepath.Join(h.Dir, "proftpd.conf")
		text, err := os.ReadFile(conf)
		if err != nil {
			return nil, err
		}
		modules := filepath.Join(peers(), "usr/lib/proftpd")
		if _, err := os.Stat(filepath.Join(modules, "mod_tls.so")); err != nil {
			return nil, fmt.Errorf("missing module: mod_tls of proftpd (scripts/peers unpacks it)")
		}
		more := fmt.Sprintf("<Global>\nPassivePorts %s\nTLSEngine on\nTLSRequired on\nTLSProtocol TLSv1.2\n"+
			"TLSRSACertificateFile %s\nTLSRSACertificateKeyFile %[2]s\nTLSVerifyClient off\nTLSLog %s/tls.log\n</Global>\n",
			strings.Replace(tlsRange, "-", " ", 1), cert, h.Dir)
		_, err = h.File("proftpd.conf", fmt.Sprintf("ModulePath %s\nLoadModule mod_tls.c\n", modules)+string(text)+more)
		return commands, err
	}
	return &k
}

// pureftpdTLS is pure-ftpd that requires encrypted sessions and data. It cannot
// require reuse of TLS sessions.
func pureftpdTLS() *ServerKind {
	k := *Pureftpd
	k.commands = func(h *Host, s *Server, program string, listen []netip.AddrPort) ([]Command, error) {
		commands, err := pureftpd(h, s, program, listen)
		if err != nil {
			return nil, err
		}
		cert, err := certificate(h)
		for i := range commands {
			commands[i].Args = append(commands[i].Args, "-Y", "3", "-2", cert, "-p", strings.Replace(tlsRange, "-", ":", 1))
		}
		return commands, err
	}
	return &k
}

// TestTLSServers: explicit TLS with the other servers, also behind NAT.
func TestTLSServers(t *testing.T) {
	for _, name := range []string{"routed", "dnat"} {
		for _, s := range []Subject{Auto, Claim} {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(name), AllowRelated, s, "--tls", "range="+tlsRange)
				for _, kind := range []*ServerKind{proftpdTLS(), pureftpdTLS()} {
					for _, f := range []Family{IPv4, IPv6} {
						server := site.ServerHost().StartServer(t, kind, netip.AddrPortFrom(site.ServerAddr(f), 21))
						for _, c := range tlsClients {
							t.Run(fmt.Sprintf("%s/%s/%s", kind.Name, c.name, f), func(t *testing.T) {
								tlsFetch(t, site, server, f, 0, false, c.command)
							})
						}
						server.Stop()
					}
				}
			})
		}
	}
}

// certificate writes a key and a certificate for it, and returns their file.
func certificate(h *Host) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	return h.File("tls.pem", string(text))
}

// tlsClients fetch a file in an encrypted session.
var tlsClients = []struct {
	name    string
	command func(user string, dial netip.AddrPort, implicit bool, remote, local string) Command
}{
	{"curl", func(user string, dial netip.AddrPort, implicit bool, remote, local string) Command {
		scheme := "ftp"
		if implicit {
			scheme = "ftps"
		}
		return Cmd("curl", "-sS", "-k", "--ssl-reqd", "--max-time", "20", "--user", user+":"+password, "-o", local, fmt.Sprintf("%s://%s/%s", scheme, dial, remote))
	}},
	{"lftp", func(user string, dial netip.AddrPort, implicit bool, remote, local string) Command {
		scheme := "ftp"
		if implicit {
			scheme = "ftps"
		}
		return Cmd("lftp", "-c", fmt.Sprintf("set net:max-retries 1; set net:timeout 10; set ssl:verify-certificate no; "+
			"set ftp:ssl-force true; set ftp:ssl-allow-anonymous true; set ftp:ssl-protect-data true; set ftp:passive-mode true; "+
			"open -u %s,%s %s://%s; get %s -o %s", user, password, scheme, dial, remote, local))
	}},
}

// TestTLSRange: encrypted sessions of real programs transfer data, on explicit
// and implicit control ports.
func TestTLSRange(t *testing.T) {
	for _, name := range []string{"routed", "masquerade", "dnat"} {
		for _, s := range []Subject{Auto, Claim} {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				p := Positions[slices.IndexFunc(Positions, func(p Position) bool { return p.Name == name })]
				p.Dialled, p.Ports = []uint16{21, 990}, "21"
				site := NewSite(t, p, AllowRelated, s, "--tls", "range="+tlsRange, "--tls-port", "990")
				for i, implicit := range []bool{false, true} {
					for _, f := range []Family{IPv4, IPv6} {
						port := p.listening()[i]
						server := site.ServerHost().StartServer(t, vsftpdTLS(implicit), netip.AddrPortFrom(site.ServerAddr(f), port))
						for _, c := range tlsClients {
							t.Run(fmt.Sprintf("%s/%s/implicit=%v", c.name, f, implicit), func(t *testing.T) {
								tlsFetch(t, site, server, f, i, implicit, c.command)
							})
						}
						server.Stop()
					}
				}
			})
		}
	}
}

func tlsFetch(t *testing.T, site *Site, server *Server, f Family, i int, implicit bool,
	command func(string, netip.AddrPort, bool, string, string) Command) {
	needPrograms(t, "curl", "lftp")
	want := strings.Repeat("encrypted\n", 10000)
	if err := os.WriteFile(filepath.Join(server.Home, "secret.txt"), []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	local := filepath.Join(t.TempDir(), "got")
	out, err := site.ClientHost().Run(30*time.Second, command(server.User, site.Dial(site.Client, f, i), implicit, "secret.txt", local))
	got, _ := os.ReadFile(local)
	if err != nil || string(got) != want {
		t.Fatalf("%v, %d bytes of %d\n%s", err, len(got), len(want), out)
	}
}

// TestTLSRangeIsNarrow: the range is open only for the session's own client, for
// a limited number of connections, and while the session lives.
func TestTLSRangeIsNarrow(t *testing.T) {
	for _, name := range []string{"routed", "dnat"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Positions[slices.IndexFunc(Positions, func(p Position) bool { return p.Name == name })]
			site := NewSite(t, p, AllowChain, Auto, "--tls", "range="+tlsRange, "--tls-parallel", "2")
			ln := site.ListenControl(t, IPv4)
			data, err := site.ServerHost().Listen(netip.AddrPortFrom(site.ServerAddr(IPv4), tlsRangePort))
			if err != nil {
				t.Fatal(err)
			}
			o := &Offer{To: netip.AddrPortFrom(site.Dial(site.Client, IPv4, 0).Addr(), tlsRangePort), Opener: site.Client, listener: data}
			t.Cleanup(func() { data.Close() })
			go o.serve()

			d := site.Talk(t, ln, site.Client, IPv4)
			o.MustRefuse(t, site.Client, "before AUTH TLS")
			d.Command("AUTH TLS")
			d.Reply("234 go ahead")
			first := o.MustOpen(t)
			o.MustRefuse(t, site.Client2, "another client, without a session")
			o.MustOpen(t)
			o.MustRefuse(t, site.Client, "the third at once of two")
			first.Close()
			err = waitFor(startTimeout, "another one when the first has ended", func() bool {
				c, err := o.Connect(site.Client, refusedTimeout)
				if err == nil {
					c.Close()
				}
				return err == nil
			})
			if err != nil {
				t.Error(err)
			}
			d.Client.Close()
			time.Sleep(time.Second) // the time that the requirement allows
			o.MustRefuse(t, site.Client, "after the session")
		})
	}
}

// TestTLSDenied: a client that requires TLS fails at once, one that does not
// continues in plain text.
func TestTLSDenied(t *testing.T) {
	needPrograms(t, "curl")
	site := NewSite(t, Positions[slices.IndexFunc(Positions, func(p Position) bool { return p.Name == "masquerade" })],
		AllowRelated, Auto, "--tls", "deny")
	server := site.ServerHost().StartServer(t, Pyftpdlib, netip.AddrPortFrom(site.ServerAddr(IPv4), 21))
	if err := os.WriteFile(filepath.Join(server.Home, "f"), []byte("plain"), 0o644); err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("ftp://%s:%s@%s/f", server.User, password, site.Dial(site.Client, IPv4, 0))
	start := time.Now()
	out, err := site.Client.Run(2*startTimeout, Cmd("curl", "-sS", "--ssl-reqd", url))
	if err == nil || time.Since(start) > startTimeout {
		t.Errorf("curl --ssl-reqd after %v: %v\n%s", time.Since(start), err, out)
	}
	if out, err := site.Client.Run(20*time.Second, Cmd("curl", "-sS", "--ssl", url)); err != nil || out != "plain" {
		t.Errorf("curl --ssl: %v\n%s", err, out)
	}
	if err := site.Daemons[0].WaitLog(lineTimeout, "tls-denied"); err != nil {
		t.Errorf("the log does not report it: %v", err)
	}
}
