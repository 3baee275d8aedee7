// SPDX-License-Identifier: Apache-2.0

package config

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// load runs a command line; file is the text of a configuration file, or empty.
// FILE in an argument or a wanted text stands for its path.
func load(t *testing.T, file string, args ...string) (Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pasvport.yaml")
	if file != "" {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config", path}, args...)
	}
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	flags := Bind(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatalf("parse %q: %v", args, err)
	}
	c, err := flags.Load()
	if err == nil {
		return c, ""
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error of more than one line: %q", err)
	}
	return c, strings.ReplaceAll(err.Error(), path, "FILE")
}

func equal(t *testing.T, want, got Config) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

// with returns the defaults changed by f.
func with(f func(*Config)) Config {
	c := Default()
	f(&c)
	return c
}

func TestDefault(t *testing.T) {
	if _, err := os.Stat(DefaultFile); err == nil {
		t.Skip("this machine has a " + DefaultFile)
	}
	got, msg := load(t, "")
	if msg != "" {
		t.Fatal(msg)
	}
	want := Config{
		Ports:          []rules.PortRange{{Low: 21, High: 21}},
		ControlSocket:  "/run/pasvport/control.sock",
		Allow:          "related",
		Strategy:       "auto",
		Carrier:        rules.CarrierAuto,
		Queue:          rules.QueueAuto,
		FastPath:       "off",
		Repair:         ftpalg.RepairUnusable,
		MinDataPort:    1024,
		Checks:         ftpalg.Normal,
		Modes:          Modes{Active: true, Passive: true},
		Families:       Families{IPv4: true, IPv6: true},
		PinholeTimeout: 60 * time.Second,
		ResetStale:     true,
		TLS:            "pass",
		MaxOffers:      60000,
		MaxSessions:    16384, MaxClientSessions: 4096,
		MaxPinholes: 4096, ClientPrefix: 64,
		TLSParallel: 8,
		QueueNum:    2121,
		Queues:      min(runtime.NumCPU(), 64),
		Table:       "pasvport",
		CTMark:      0x0c000000,
		PeerWait:    "always",
		LogFormat:   "text",
		LogLevel:    slog.LevelInfo,
	}
	equal(t, want, got)
	if got.Control() != 0 {
		t.Errorf("bit %#x without --allow mark, want none", got.Control())
	}
}

// TestValues gives each case once as a flag and once as a key.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        func(*Config)
	}{
		{"port", "2121", func(c *Config) { c.Ports = []rules.PortRange{{Low: 2121, High: 2121}} }},
		{"port", "8021-8025, 21", func(c *Config) { c.Ports = []rules.PortRange{{Low: 21, High: 21}, {Low: 8021, High: 8025}} }},
		{"port", "21,21,20-30,25-40,41,1-65535", func(c *Config) { c.Ports = []rules.PortRange{{Low: 1, High: 65535}} }},
		{"port", "30,10-20,15-25,26", func(c *Config) {
			c.Ports = []rules.PortRange{{Low: 10, High: 26}, {Low: 30, High: 30}}
		}},
		{"control-socket", "/tmp/x.sock", func(c *Config) { c.ControlSocket = "/tmp/x.sock" }},
		{"control-socket", "", func(c *Config) { c.ControlSocket = "" }},
		{"metrics", "[::1]:9121", func(c *Config) { c.Metrics = "[::1]:9121" }},
		{"metrics", ":0", func(c *Config) { c.Metrics = ":0" }},
		{"metrics", "", func(c *Config) { c.Metrics = "" }},
		{"allow", "mark", func(c *Config) { c.Allow = AllowMark }},
		{"allow", "chain=inet/filter/forward,ip/nat/input", func(c *Config) {
			c.Allow = AllowChain
			c.Chains = []rules.ChainRef{{Family: rules.FamilyINet, Table: "filter", Chain: "forward"}, {Family: rules.FamilyIPv4, Table: "nat", Chain: "input"}}
		}},
		{"strategy", "claim", func(c *Config) { c.Strategy = StrategyClaim }},
		{"strategy", "expectation", func(c *Config) { c.Strategy = StrategyExpectation }},
		{"carrier", "bare", func(c *Config) { c.Carrier = rules.CarrierBare }},
		{"carrier", "none", func(c *Config) { c.Carrier = rules.CarrierNone }},
		{"queue", "native", func(c *Config) { c.Queue = rules.QueueNative }},
		{"queue", "xt", func(c *Config) { c.Queue = rules.QueueXT }},
		{"third-party", "allow", func(c *Config) { c.ThirdParty = true }},
		{"advertise", "10.0.0.5=203.0.113.5", func(c *Config) {
			c.Advertise = map[netip.Addr]Outside{netip.MustParseAddr("10.0.0.5"): {Addr: netip.MustParseAddr("203.0.113.5")}}
		}},
		{"nat64", "64:ff9b::/96", func(c *Config) {
			c.NAT64 = []ftpalg.NAT64{{Prefix: netip.MustParsePrefix("64:ff9b::/96")}}
		}},
		{"nat64", "2001:db8:100::/40, 192.168.255.0/24", func(c *Config) {
			c.NAT64 = []ftpalg.NAT64{{Prefix: netip.MustParsePrefix("2001:db8:100::/40"), Pool: netip.MustParsePrefix("192.168.255.0/24")}}
		}},
		{"nat64", "64:ff9b::/96,192.0.2.1", func(c *Config) {
			c.NAT64 = []ftpalg.NAT64{{Prefix: netip.MustParsePrefix("64:ff9b::/96"), Pool: netip.MustParsePrefix("192.0.2.1/32")}}
		}},
		{"advertise", "::ffff:10.0.0.5=203.0.113.5,fd00::5=2001:db8::5", func(c *Config) {
			c.Advertise = map[netip.Addr]Outside{
				netip.MustParseAddr("10.0.0.5"): {Addr: netip.MustParseAddr("203.0.113.5")},
				netip.MustParseAddr("fd00::5"):  {Addr: netip.MustParseAddr("2001:db8::5")},
			}
		}},
		{"advertise", "10.0.0.5=FTP.example.org,fd00::5=interface:ppp0", func(c *Config) {
			c.Advertise = map[netip.Addr]Outside{
				netip.MustParseAddr("10.0.0.5"): {Name: "ftp.example.org"},
				netip.MustParseAddr("fd00::5"):  {Interface: "ppp0"},
			}
		}},
		{"repair", "none", func(c *Config) { c.Repair = ftpalg.RepairNone }},
		{"repair", "private", func(c *Config) { c.Repair = ftpalg.RepairPrivate }},
		{"repair", "all", func(c *Config) { c.Repair = ftpalg.RepairAll }},
		{"min-data-port", "1", func(c *Config) { c.MinDataPort = 1 }},
		{"min-data-port", "65535", func(c *Config) { c.MinDataPort = 65535 }},
		{"strict-active-port", "on", func(c *Config) { c.StrictActivePort = true }},
		{"strict-active-port", "true", func(c *Config) { c.StrictActivePort = true }},
		{"strict-active-port", "off", func(*Config) {}},
		{"pinhole-timeout", "1500ms", func(c *Config) { c.PinholeTimeout = 1500 * time.Millisecond }},
		{"pinhole-timeout", "1h", func(c *Config) { c.PinholeTimeout = time.Hour }},
		{"reset-stale", "off", func(c *Config) { c.ResetStale = false }},
		{"reset-stale", "on", func(c *Config) {}},
		{"keepalive", "5m", func(c *Config) { c.Keepalive = 5 * time.Minute }},
		{"keepalive", "off", func(c *Config) {}},
		{"keepalive", "0", func(c *Config) {}},
		{"session-idle", "36h", func(c *Config) { c.SessionIdle = 36 * time.Hour }},
		{"session-idle", "0s", func(c *Config) {}},
		{"tls", "deny", func(c *Config) { c.TLS = TLSDeny }},
		{"tls", "range=50000-50100", func(c *Config) {
			c.TLS, c.TLSRange = TLSRange, rules.PortRange{Low: 50000, High: 50100}
		}},
		{"fail", "closed", func(c *Config) { c.FailClosed = true }},
		{"queue-num", "1", func(c *Config) { c.QueueNum = 1 }},
		{"queues", "64", func(c *Config) { c.Queues = 64 }},
		{"table", "ftp-alg_2.x", func(c *Config) { c.Table = "ftp-alg_2.x" }},
		{"ct-mark", "0x3", func(c *Config) { c.CTMark = 3 }},
		{"ct-mark", "0x80000001", func(c *Config) { c.CTMark = 0x80000001 }},
		{"user", "nobody", func(c *Config) { c.User = "nobody" }},
		{"user", "", func(c *Config) { c.User = "" }},
		{"peer-wait", "nat", func(c *Config) { c.PeerWait = PeerNAT }},
		{"peer-wait", "never", func(c *Config) { c.PeerWait = PeerNever }},
		{"peer", "", func(c *Config) {}},
		{"peer-key", "", func(c *Config) {}},
		{"peer-listen", "", func(c *Config) {}},
		{"checks", "strict", func(c *Config) { c.Checks = ftpalg.Strict }},
		{"checks", "normal,-greeting, services", func(c *Config) { c.Checks = ftpalg.Normal&^ftpalg.CheckGreeting | ftpalg.CheckServices }},
		{"checks", "lenient", func(c *Config) { c.Checks = ftpalg.NoChecks }},
		{"checks", "lenient,login", func(c *Config) { c.Checks = ftpalg.CheckLogin }},
		{"checks", "-greeting,-first-command,-asked,-epsv-all", func(c *Config) { c.Checks = ftpalg.NoChecks }},
		{"deny-command", "site,DELE", func(c *Config) { c.DenyCommands = map[string]bool{"SITE": true, "DELE": true} }},
		{"deny-command", "site chmod,REST", func(c *Config) { c.DenyCommands = map[string]bool{"SITE CHMOD": true, "REST": true} }},
		{"mark", "0x10", func(c *Config) { c.Mark = 0x10 }},
		{"mark", "0", func(*Config) {}},
		{"map-data-ports", "50000-50100", func(c *Config) { c.MapDataPorts = rules.PortRange{Low: 50000, High: 50100} }},
		{"map-data-ports", "", func(*Config) {}},
		{"login-failures", "5 in 1m, block 10m", func(c *Config) { c.LoginFailures = LoginFailures{5, time.Minute, 10 * time.Minute} }},
		{"login-failures", "off", func(*Config) {}},
		{"modes", "passive", func(c *Config) { c.Modes = Modes{Passive: true} }},
		{"modes", "passive,active", func(*Config) {}},
		{"families", "IPv6", func(c *Config) { c.Families = Families{IPv6: true} }},
		{"data-ports", "40000-50000", func(c *Config) {
			r := rules.PortRange{Low: 40000, High: 50000}
			c.DataPorts = DataPorts{r, r}
		}},
		{"data-ports", "passive=40000-50000", func(c *Config) { c.DataPorts.Passive = rules.PortRange{Low: 40000, High: 50000} }},
		{"anonymous", "only", func(c *Config) { c.Anonymous = ftpalg.AnonymousOnly }},
		{"anonymous", "never", func(c *Config) { c.Anonymous = ftpalg.AnonymousNever }},
		{"tls", "require", func(c *Config) { c.TLS = TLSRequire }},
		{"max-line", "512", func(c *Config) { c.MaxLine = 512 }},
		{"max-argument", "4096", func(c *Config) { c.MaxArgument = 4096 }},
		{"max-path", "0", func(*Config) {}},
		{"log-format", "json", func(c *Config) { c.LogFormat = LogJSON }},
		{"log-level", "debug", func(c *Config) { c.LogLevel = slog.LevelDebug }},
		{"log-level", "warn", func(c *Config) { c.LogLevel = slog.LevelWarn }},
		{"log-level", "error", func(c *Config) { c.LogLevel = slog.LevelError }},
		{"log-sessions", "on", func(c *Config) { c.LogSessions = true }},
		{"log-transfers", "on", func(c *Config) { c.LogTransfers = true }},
		{"xferlog", "/var/log/xferlog", func(c *Config) { c.Xferlog = "/var/log/xferlog" }},
		{"xferlog", "", func(c *Config) { c.Xferlog = "" }},
	} {
		t.Run(tt.name+" "+tt.value, func(t *testing.T) {
			key := tt.name + ": " + tt.value + "\n"
			if tt.value == "" || strings.ContainsAny(tt.value, "[:") {
				key = tt.name + ": '" + tt.value + "'\n"
			}
			got, msg := load(t, "# empty\n", "--"+tt.name+"="+tt.value)
			if msg != "" {
				t.Fatal(msg)
			}
			equal(t, with(tt.want), got)
			got, msg = load(t, key)
			if msg != "" {
				t.Fatal(msg)
			}
			equal(t, with(tt.want), got)
		})
	}
}

// TestMarkBit: the lower bit is ours with --allow mark, and otherwise none.
func TestMarkBit(t *testing.T) {
	for _, tt := range []struct{ mark, want uint32 }{
		{0x0c000000, 0x04000000},
		{0x80000001, 1},
		{0x6, 2},
	} {
		for allow, want := range map[AllowKind]uint32{AllowMark: tt.want, AllowRelated: 0, AllowChain: 0} {
			c := Config{CTMark: tt.mark, Allow: allow}
			if c.Control() != want || c.Rules().Mark != want {
				t.Errorf("mark %#x, allow %s: bit %#x, rules %#x, want %#x", tt.mark, allow, c.Control(), c.Rules().Mark, want)
			}
		}
	}
}

func TestRepeatedFlags(t *testing.T) {
	got, msg := load(t, "# empty\n", "--port", "21", "--port", "8021-8025,2121", "--advertise", "10.0.0.1=192.0.2.1",
		"--advertise", "10.0.0.2=192.0.2.2", "--allow", "chain=inet/filter/forward", "--allow", "chain=inet/filter/input",
		"--queues", "3", "--queues", "5", "--strict-active-port", "--fail", "closed", "--fail", "open")
	if msg != "" {
		t.Fatal(msg)
	}
	equal(t, with(func(c *Config) {
		c.Ports = []rules.PortRange{{Low: 21, High: 21}, {Low: 2121, High: 2121}, {Low: 8021, High: 8025}}
		c.Advertise = map[netip.Addr]Outside{
			netip.MustParseAddr("10.0.0.1"): {Addr: netip.MustParseAddr("192.0.2.1")},
			netip.MustParseAddr("10.0.0.2"): {Addr: netip.MustParseAddr("192.0.2.2")},
		}
		c.Allow = AllowChain
		c.Chains = []rules.ChainRef{{Family: rules.FamilyINet, Table: "filter", Chain: "forward"}, {Family: rules.FamilyINet, Table: "filter", Chain: "input"}}
		c.Queues = 5
		c.StrictActivePort = true
	}), got)
}

func TestFlagErrors(t *testing.T) {
	const (
		port      = "want a port from 1 to 65535, a range such as 8021-8025, or a list of them"
		nat64     = "want PREFIX or PREFIX,POOL, an IPv6 prefix of RFC 6052 and an IPv4 network, such as 64:ff9b::/96,192.168.255.0/24"
		advertise = "want INSIDE=OUTSIDE, two unicast addresses of one family, such as 10.0.0.5=203.0.113.5, or for OUTSIDE a DNS name or interface:NAME"
		allow     = "want related, mark, or chain=FAMILY/TABLE/CHAIN[,FAMILY/TABLE/CHAIN...] with family inet, ip or ip6"
		duration  = "want a duration such as 60s or 2m, from 1ms to 1h"
		tls       = "want pass, deny, require, or range=LOW-HIGH with ports from 1 to 65535"
		mark      = "want a 32 bit number with exactly two bits set, such as 0x0c000000"
		checks    = "want lenient, normal, strict, or the name of a check of docs/protocol.md with or without '-' in front, or a list of them"
		deny      = "want commands of three or four letters, such as SITE,DELE, or SITE CHMOD"
		dataPorts = "want LOW-HIGH with ports from 1 to 65535, active=LOW-HIGH or passive=LOW-HIGH, or a list of them"
		table     = "want a letter or '_', then letters, digits, '_', '-' or '.', at most 64 in all"
		metrics   = "want HOST:PORT such as 127.0.0.1:9121, [::1]:9121 or :9121, or nothing for no listener"
	)
	for _, tt := range []struct{ arg, want string }{
		{"--checks=paranoid", checks},
		{"--checks=", checks},
		{"--checks=-strict", checks},
		{"--deny-command=TOOLONG", deny},
		{"--deny-command=SITE CHMOD x", deny},
		{"--deny-command=DELE CHMOD", deny},
		{"--map-data-ports=1000-2000", "want LOW-HIGH with ports from 1024 to 65535, or nothing"},
		{"--mark=high", "want a 32 bit number such as 0x10"},
		{"--mark=0x100000000", "want a 32 bit number such as 0x10"},
		{"--map-data-ports=50000", "want LOW-HIGH with ports from 1024 to 65535, or nothing"},
		{"--login-failures=5", "want " + wantFailures},
		{"--login-failures=0 in 1m, block 10m", "want " + wantFailures},
		{"--login-failures=5 in 1m, block 10", "want " + wantFailures},
		{"--login-failures=5 in 25h, block 10m", "want " + wantFailures},
		{"--login-failures=5 per 1m, block 10m", "want " + wantFailures},
		{"--modes=extended", "want active, passive or both"},
		{"--modes=", "want active, passive or both"},
		{"--families=4", "want ipv4, ipv6 or both"},
		{"--data-ports=21", dataPorts},
		{"--data-ports=server=21-22", dataPorts},
		{"--data-ports=active=30-20", "want the lower port first: 20-30"},
		{"--anonymous=on", "want any, only or never"},
		{"--max-line=4097", "want a number from 0 to 4096"},
		{"--deny-command=X1TE", deny},
		{"--port=0", port},
		{"--port=65536", port},
		{"--port=ftp", port},
		{"--port=", port},
		{"--port=21,", port},
		{"--port=-21", port},
		{"--port=21-", port},
		{"--port=21-70000", port},
		{"--port=+21", port},
		{"--port=30-20", "want the lower port first: 20-30"},
		{"--control-socket=" + strings.Repeat("x", 108), "want a path of at most 107 bytes, or nothing for no socket"},
		{"--metrics=9121", metrics},
		{"--metrics=localhost:", metrics},
		{"--metrics=localhost:http", metrics},
		{"--metrics=::1:9121", metrics},
		{"--metrics=localhost:65536", metrics},
		{"--allow=all", allow},
		{"--allow=", allow},
		{"--allow=chain=", allow},
		{"--allow=chain=filter/forward", allow},
		{"--allow=chain=inet/filter/forward,", allow},
		{"--allow=chain=bridge/filter/forward", allow},
		{"--strategy=best", "want auto, expectation or claim"},
		{"--carrier=ftp", "want auto, sane, bare or none"},
		{"--queue=2121", "want auto, native or xt"},
		{"--third-party=yes", "want deny or allow"},
		{"--nat64=64:ff9b::", nat64},
		{"--nat64=64:ff9b::/96,", nat64},
		{"--nat64=192.0.2.0/24", nat64},
		{"--nat64=192.0.2.0/24,64:ff9b::/96", nat64},
		{"--nat64=64:ff9b::/96,2001:db8::/64", nat64},
		{"--nat64=64:ff9b::/96,0.0.0.0/0", nat64},
		{"--nat64=::/96", "want a prefix of unicast addresses that are not reserved (RFC 4291 sections 2.5 and 2.7)"},
		{"--nat64=ff00::/32", "want a prefix of unicast addresses that are not reserved (RFC 4291 sections 2.5 and 2.7)"},
		{"--nat64=64:ff9b::/80", "want an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits (RFC 6052)"},
		{"--nat64=64:ff9b::1/96", "want no bits behind the prefix: 64:ff9b::/96"},
		{"--nat64=64:ff9b:0:0:ff00::/96", "want zero in bits 64 to 71 of the prefix (RFC 6052 section 2.2)"},
		{"--nat64=64:ff9b::/96,192.168.255.1/24", "want no bits behind the pool's network: 192.168.255.0/24"},
		{"--advertise=10.0.0.1=2001:db8::1", advertise},
		{"--advertise=10.0.0.1=exa mple.org", advertise},
		{"--advertise=10.0.0.1=10.0.0.256", advertise},
		{"--advertise=10.0.0.1=-x.org", advertise},
		{"--advertise=10.0.0.1=x..org", advertise},
		{"--advertise=10.0.0.1=", advertise},
		{"--advertise=10.0.0.1=interface:", "want interface: and the name of an interface of at most 15 bytes"},
		{"--advertise=10.0.0.1=interface:a/b", "want interface: and the name of an interface of at most 15 bytes"},
		{"--advertise=10.0.0.1=interface:sixteen-letters0", "want interface: and the name of an interface of at most 15 bytes"},
		{"--advertise=10.0.0.1=0.0.0.0", advertise},
		{"--advertise=10.0.0.1=224.0.0.1", advertise},
		{"--advertise=10.0.0.1=255.255.255.255", advertise},
		{"--advertise=fe80::1%eth0=2001:db8::1", advertise},
		{"--advertise=10.0.0.1=192.0.2.1,10.0.0.1=192.0.2.2", "want one address for 10.0.0.1, and 192.0.2.1 was given before"},
		{"--repair=some", "want none, unusable, private or all"},
		{"--min-data-port=0", "want a number from 1 to 65535"},
		{"--min-data-port=65536", "want a number from 1 to 65535"},
		{"--strict-active-port=2", "want on or off"},
		{"--pinhole-timeout=0", duration},
		{"--pinhole-timeout=1ns", duration},
		{"--pinhole-timeout=60", duration},
		{"--pinhole-timeout=-1s", duration},
		{"--pinhole-timeout=61m", duration},
		{"--reset-stale=maybe", "want on or off"},
		{"--keepalive=300", "want " + wantIdle},
		{"--keepalive=999ms", "want " + wantIdle},
		{"--session-idle=-5m", "want " + wantIdle},
		{"--tls=off", tls},
		{"--tls=range=50000", tls},
		{"--tls=range=0-10", tls},
		{"--tls=range=50100-50000", "want the lower port first: 50000-50100"},
		{"--fail=ajar", "want open or closed"},
		{"--queue-num=0", "want a number from 1 to 65534"},
		{"--queue-num=65536", "want a number from 1 to 65534"},
		{"--queues=0", "want a number from 1 to 64"},
		{"--queues=65", "want a number from 1 to 64"},
		{"--queues=4294967297", "want a number from 1 to 64"},
		{"--table=", table},
		{"--table=4you", table},
		{"--table=a b", table},
		{"--table=a/b", table},
		{"--table=" + strings.Repeat("x", 65), table},
		{"--ct-mark=0x04000000", mark},
		{"--ct-mark=0x0e000000", mark},
		{"--ct-mark=0x100000001", mark},
		{"--ct-mark=bits", mark},
		{"--log-format=xml", "want text or json"},
		{"--log-level=INFO+1", "want debug, info, warn or error"},
	} {
		t.Run(tt.arg, func(t *testing.T) {
			name, text, _ := strings.Cut(tt.arg, "=")
			want := name + " \"" + text + "\": " + tt.want
			if _, msg := load(t, "# empty\n", tt.arg); msg != want {
				t.Errorf("got  %s\nwant %s", msg, want)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"sum", []string{"--queue-num=65500", "--queues=36"}, "queue-num 65500 with queues 36: want a sum of at most 65535"},
		{"largest sum", []string{"--queue-num=65500", "--queues=35"}, ""},
		{"mixed ways", []string{"--allow=related", "--allow=mark"}, `--allow "mark": want one way only, and "related" was given before`},
		{"own table", []string{"--table=x", "--allow=chain=inet/x/forward"}, `allow "chain=inet/x/forward" with table "x": want a chain of another table than our own`},
		{"no such file", []string{"--config=/no/such/file"}, `--config "/no/such/file": no such file or directory, want a readable file`},
		{"no name", []string{"--config="}, `--config "": no such file or directory, want a readable file`},
		{"directory", []string{"--config=/"}, `--config "/": is a directory, want a readable file`},
		{"no end", []string{"--config=/dev/zero"}, `--config "/dev/zero": more than 16 MB, want a readable file`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, msg := load(t, "", tt.args...); msg != tt.want {
				t.Errorf("got  %s\nwant %s", msg, tt.want)
			}
		})
	}
}

// TestNAT64Twice: contradictions between two values of --nat64.
func TestNAT64Twice(t *testing.T) {
	for _, tt := range []struct{ a, b, want string }{
		{"64:ff9b::/96", "64:ff9b::/96", ""},
		{"64:ff9b::/96,192.0.2.1", "64:ff9b::/96,192.0.2.2", ""},
		{"64:ff9b::/96,192.0.2.1", "64:ff9b::/96", "a pool with 64:ff9b::/96 or none, and it was given before the other way"},
		{"64:ff9b::/96", "64:ff9b::/64", "prefixes that do not overlap, and 64:ff9b::/96 was given before"},
		{"64:ff9b::/96,192.0.2.1", "2001:db8::/96,192.0.2.0/24", "pools that do not overlap, and 192.0.2.1/32 was given before"},
	} {
		_, msg := load(t, "", "--nat64", tt.a, "--nat64", tt.b)
		if tt.want == "" && msg != "" || !strings.Contains(msg, tt.want) {
			t.Errorf("%s and %s: %q, want %q", tt.a, tt.b, msg, tt.want)
		}
	}
}
