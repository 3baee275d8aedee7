// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/ftpalg"
)

// TestTranslators: a program named tayga runs, here or in another network namespace.
func TestTranslators(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	tayga := filepath.Join(t.TempDir(), "tayga")
	if err := os.WriteFile(tayga, program, 0o755); err != nil {
		t.Fatal(err)
	}
	prefix, pool := netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("192.168.255.0/24")
	start := func() func() {
		cmd := exec.Command(tayga, "60")
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return func() {}
		}
		return func() { cmd.Process.Kill(); cmd.Wait() }
	}
	for _, tt := range []struct {
		name  string
		here  bool
		nat64 []ftpalg.NAT64
		level Level
		want  string
	}{
		{"told of both sides", true, []ftpalg.NAT64{{Prefix: prefix, Pool: pool}}, OK, "tayga runs here: both sides of what it translates pass our rules, and --nat64 says which they are"},
		{"told of the prefix", true, []ftpalg.NAT64{{Prefix: prefix}}, Warn, "tayga runs here, and --nat64 names no POOL: it is taken for one on another machine, and active mode is not translated"},
		{"not told", true, nil, Warn, "tayga runs here: without --nat64 FTP through it works with EPSV alone, where the server knows it"},
		{"elsewhere", false, nil, OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.here {
				defer start()()
			}
			cfg := settings()
			cfg.NAT64 = tt.nat64
			e := examination{report: new(Report), cfg: cfg, sysfs: t.TempDir()}
			inNamespace(t, "", nil, func() error {
				if tt.here {
					defer start()()
				}
				e.translators()
				return nil
			})
			var got []string
			for _, f := range e.report.Findings {
				if strings.Contains(f.Text, "tayga") {
					got = append(got, f.Text)
					if f.Level != tt.level {
						t.Errorf("level %v, want %v", f.Level, tt.level)
					}
				}
			}
			if strings.Join(got, "") != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestTranslatorModules: nat46 and Jool are modules, which this kernel may lack;
// eBPF programs are real ones.
func TestTranslatorModules(t *testing.T) {
	own := "64:ff9b::/96"
	for _, tt := range []struct {
		name, module string
		pool         bool
		bpf          func(*testing.T, netlink.Link) error
		level        Level
		want         string
	}{
		{"nat46", "nat46", false, nil, Warn, "the module nat46 is loaded: without --nat64 FTP through it works with EPSV alone, where the server knows it"},
		{"nat46, told", "nat46", true, nil, OK, "the module nat46 is loaded: both sides of what it translates pass our rules, and --nat64 says which they are"},
		{"Jool", "jool", true, nil, OK, "through Jool active mode works for the ports that its table has"},
		{"clatd at ingress", "", false, attachIngress("clat_ingress6"), Warn, "v0 has the eBPF program clat_ingress6 at its ingress: if it translates between IPv6 and IPv4, FTP through it passes unread, as its packets do not pass conntrack twice"},
		{"nothing of that kind at ingress", "", false, attachIngress("shaper"), OK, ""},
		{"XDP", "", false, attachXDP, Warn, "v0 has an XDP program: if it translates between IPv6 and IPv4, FTP through it passes unread, as its packets do not pass conntrack twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := examination{report: new(Report), cfg: settings(), sysfs: t.TempDir()}
			if tt.pool {
				e.cfg.NAT64 = []ftpalg.NAT64{{Prefix: netip.MustParsePrefix(own), Pool: netip.MustParsePrefix("192.168.255.0/24")}}
			}
			if tt.module != "" {
				if err := os.MkdirAll(filepath.Join(e.sysfs, "module", tt.module), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			inNamespace(t, "", nil, func() error {
				if tt.bpf != nil {
					if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v0"}, PeerName: "v1"}); err != nil {
						return err
					}
					v, err := netlink.LinkByName("v0")
					if err != nil {
						return err
					}
					if err := tt.bpf(t, v); err != nil {
						return err
					}
				}
				e.translators()
				return nil
			})
			for _, f := range e.report.Findings {
				if f.Text == tt.want && f.Level == tt.level {
					return
				}
			}
			if tt.want != "" || len(e.report.Findings) > 0 {
				t.Errorf("findings %+v, want %q", e.report.Findings, tt.want)
			}
		})
	}
}

// program loads a program that accepts every packet.
func program(t *testing.T, kind ebpf.ProgramType, verdict int32) (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: kind, License: "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()}})
	if err != nil {
		t.Skip("no programs of eBPF here: ", err)
	}
	t.Cleanup(func() { p.Close() })
	return p, nil
}

func attachXDP(t *testing.T, v netlink.Link) error {
	p, err := program(t, ebpf.XDP, 2) // XDP_PASS
	if err != nil {
		return err
	}
	return netlink.LinkSetXdpFd(v, p.FD())
}

func attachIngress(name string) func(*testing.T, netlink.Link) error {
	return func(t *testing.T, v netlink.Link) error {
		p, err := program(t, ebpf.SchedCLS, 0)
		if err != nil {
			return err
		}
		at := netlink.QdiscAttrs{LinkIndex: v.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
		if err := netlink.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: at, QdiscType: "clsact"}); err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: at.LinkIndex, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:          p.FD(), Name: name, DirectAction: true,
		})
	}
}
