// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ourTable matches our table in a listing of the ruleset.
var ourTable = regexp.MustCompile(`(?ms)^(# Warning: [^\n]*\n)?table inet pasvport \{.*?^\}\n`)

// TestMonitorBesideHelper: the in-kernel helper serves the monitored connections,
// under NAT too; the ruleset changes only by our table, and what would have been
// opened is reported.
func TestMonitorBesideHelper(t *testing.T) {
	needDaemon(t)
	for _, name := range []string{"routed", "both-nat"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position(name), AllowRelated, Auto)
			fw := site.Firewalls[0]
			if err := fw.Sysctl("net/netfilter/nf_conntrack_acct", "1"); err != nil {
				t.Fatal(err)
			}
			fw.LoadRules(t, kernelHelperRules(site.Position, AllowRelated))
			before := fw.rulesWithoutCounters(t)
			d := site.StartDaemon(t, fw, "--monitor", "--log-sessions", "--log-transfers", "--log-level", "info")
			site.Daemons = append(site.Daemons, d)
			if after := ourTable.ReplaceAllString(fw.rulesWithoutCounters(t), ""); strings.TrimSpace(after) != strings.TrimSpace(before) {
				t.Errorf("ruleset is\n%s\nand was\n%s", after, before)
			}
			server := site.StartServer(t, Vsftpd)
			for range 3 {
				site.mustTransfer(t, server)
			}
			for _, want := range []string{
				`msg="pinhole would be opened" client=\S+ server=\S+ session=\d+ monitor=true mode=passive verb=(PASV|EPSV) `,
				`msg="pinhole would be opened" client=\S+ server=\S+ session=\d+ monitor=true mode=active `,
				`msg=login client=\S+ server=\S+ session=\d+ monitor=true user=`,
				`msg=transfer client=\S+ server=\S+ session=\d+ monitor=true .* bytes=\d+ .* complete=true`,
			} {
				if err := waitFor(10*time.Second, want, func() bool { return regexp.MustCompile(want).MatchString(d.Output()) }); err != nil {
					t.Error(err)
				}
			}
			if strings.Contains(d.Output(), "pinhole opened") {
				t.Error("a pinhole was opened")
			}
			for line := range strings.Lines(d.Output()) {
				if !strings.Contains(line, "monitor=true") {
					t.Errorf("a line without the monitor mark: %s", line)
				}
			}
			if s, err := d.Status(); err != nil || s["monitor"] != true || s["carrier"] != "none" {
				t.Errorf("status %v, %v", s, err)
			}
			server.Stop()
			talk := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			talk.Announce(PASV).MustOpen(t)
			list, err := d.Sessions()
			if err != nil || len(list) != 1 || list[0]["monitor"] != true {
				t.Errorf("sessions %v, %v", list, err)
			}
			if status, err := d.Stop(syscall.SIGTERM); err != nil || status != 0 {
				t.Error(status, err)
			}
			if after := fw.rulesWithoutCounters(t); after != before {
				t.Errorf("after the stop the ruleset is\n%s\nand was\n%s", after, before)
			}
		})
	}
}

// TestMonitorChangesNothing: without another helper nothing is opened or
// translated and no command is denied, but everything that would have been is
// reported; likewise where a policy monitors one client while others are served.
func TestMonitorChangesNothing(t *testing.T) {
	needDaemon(t)
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		site := NewSite(t, position("both-nat"), AllowRelated, Auto, "--monitor", "--deny-command", "SITE", "--fail", "closed", "--keepalive", "1s")
		site.monitorsOnly(t)
	})
	t.Run("policy", func(t *testing.T) {
		t.Parallel()
		site := NewSiteOnly(t, position("both-nat"), AllowRelated, Auto)
		fw := site.Firewalls[0]
		file, err := fw.File("pasvport.yaml", "deny-command: SITE\npolicies: [{client: 10.0.0.0/8, monitor: true}]\n")
		if err != nil {
			t.Fatal(err)
		}
		site.Daemons = append(site.Daemons, site.StartDaemon(t, fw, "--config", file))
		site.monitorsOnly(t)
	})
}

func (s *Site) monitorsOnly(t *testing.T) {
	t.Helper()
	d := s.Daemons[0]
	talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
	if heard := talk.Command("SITE HELP"); strings.TrimSpace(heard) != "SITE HELP" {
		t.Errorf("the server received %q", heard)
	}
	announced := netip.AddrPortFrom(talk.clientAddr(), 45678)
	if heard := talk.AnnounceText(PORT, announced); heard != announced {
		t.Errorf("announced %s, received %s", announced, heard)
	}
	for _, want := range []string{`msg="command would be denied".* monitor=true`, `msg="pinhole would be opened" .*monitor=true mode=active`} {
		if err := waitFor(10*time.Second, want, func() bool { return regexp.MustCompile(want).MatchString(d.Output()) }); err != nil {
			t.Errorf("%v:\n%s", err, lastLines(d.Output(), 10))
		}
	}
	if strings.Contains(d.Output(), "pinhole opened") {
		t.Error("a pinhole was opened")
	}
}

// TestMonitorReload: a reload turns monitoring on or off for sessions that begin
// after it.
func TestMonitorReload(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position("masquerade"), AllowRelated, s)
			fw := site.Firewalls[0]
			set := func(text string) string {
				t.Helper()
				file, err := fw.File("pasvport.yaml", text)
				if err != nil {
					t.Fatal(err)
				}
				return file
			}
			file := set("monitor: on\n")
			d := site.StartDaemon(t, fw, "--config", file)
			rules := fw.rulesWithoutCounters(t)
			reload := func(text string) {
				t.Helper()
				set(text)
				if out, err := fw.Run(startTimeout, Cmd(d.bin, "reload", "--control-socket", d.Socket)); err != nil {
					t.Fatal(err, out)
				}
			}
			ln := site.ListenControl(t, IPv4)
			watched := site.Talk(t, ln, site.Client, IPv4)
			reload("monitor: off\n")
			site.Talk(t, ln, site.Client, IPv4).Announce(PASV).MustOpen(t)
			announced := netip.AddrPortFrom(watched.clientAddr(), 45678)
			if heard := watched.AnnounceText(PORT, announced); heard != announced {
				t.Errorf("announced %s, received %s in a session that began while monitor was on", announced, heard)
			}
			reload("monitor: on\n")
			if now := fw.rulesWithoutCounters(t); now != rules {
				t.Errorf("rules after two reloads are\n%s\nand were\n%s", now, rules)
			}
			if heard := site.Talk(t, ln, site.Client, IPv4).AnnounceText(PORT, announced); heard != announced {
				t.Errorf("announced %s, received %s", announced, heard)
			}
		})
	}
}
