// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"
	"time"
)

// TestBadUsage: a wrong flag or key ends the program with status 2 and one line
// that names it and its value, before anything is installed.
func TestBadUsage(t *testing.T) {
	needDaemon(t)
	needPrograms(t, "nft")
	bin, err := binary.file()
	if err != nil {
		t.Fatal(err)
	}
	h := NewNet(t).Host("fw")
	config := func(name, text string) string {
		path, err := h.File(name, text)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"port 0":           {[]string{"--port", "0"}, []string{"port", "0"}},
		"port over 65535":  {[]string{"--port", "70000"}, []string{"port", "70000"}},
		"range backwards":  {[]string{"--port", "8025-8021"}, []string{"port", "8025-8021"}},
		"port no number":   {[]string{"--port", "ftp"}, []string{"port", "ftp"}},
		"strategy":         {[]string{"--strategy", "luck"}, []string{"strategy", "luck", "claim"}},
		"allow":            {[]string{"--allow", "all"}, []string{"allow", "all", "related"}},
		"allow half chain": {[]string{"--allow", "chain=inet/filter"}, []string{"allow", "inet/filter"}},
		"allow no chain":   {[]string{"--allow", "chain=inet/filter/nosuch"}, []string{"allow", "inet/filter/nosuch"}},
		"third party":      {[]string{"--third-party", "maybe"}, []string{"third-party", "maybe", "allow"}},
		"advertise":        {[]string{"--advertise", "10.0.0.1"}, []string{"advertise", "10.0.0.1"}},
		"repair":           {[]string{"--repair", "some"}, []string{"repair", "some", "unusable"}},
		"min data port":    {[]string{"--min-data-port", "99999"}, []string{"min-data-port", "99999"}},
		"timeout":          {[]string{"--pinhole-timeout", "-1s"}, []string{"pinhole-timeout", "-1s"}},
		"tls":              {[]string{"--tls", "range=9-1"}, []string{"tls", "range=9-1"}},
		"fail":             {[]string{"--fail", "safe"}, []string{"fail", "safe", "open"}},
		"queue number":     {[]string{"--queue-num", "70000"}, []string{"queue-num", "70000"}},
		"no queues":        {[]string{"--queues", "0"}, []string{"queues", "0"}},
		"one mark bit":     {[]string{"--ct-mark", "0x4"}, []string{"ct-mark", "0x4"}},
		"table name":       {[]string{"--table", "a b"}, []string{"table", "a b"}},
		"log format":       {[]string{"--log-format", "xml"}, []string{"log-format", "xml", "json"}},
		"log level":        {[]string{"--log-level", "loud"}, []string{"log-level", "loud"}},
		"unknown flag":     {[]string{"--nosuch"}, []string{"nosuch"}},
		"argument":         {[]string{"now"}, []string{"now"}},
		"no config":        {[]string{"--config", "/nosuch.yaml"}, []string{"config", "/nosuch.yaml"}},
		"unknown key":      {[]string{"--config", config("key.yaml", "port: 21\nprot: 22\n")}, []string{"prot", "2"}},
		"bad value of key": {[]string{"--config", config("value.yaml", "# first\nstrategy: luck\n")}, []string{"strategy", "luck"}},
	} {
		t.Run(name, func(t *testing.T) {
			Case{Kind: "bad usage"}.Count(t)
			p, err := h.Start(Cmd(append([]string{bin, "run", "--control-socket", ""}, c.args...)...))
			if err != nil {
				t.Fatal(err)
			}
			status, err := p.Wait(startTimeout)
			if err != nil || status != 2 {
				t.Errorf("exit status %d, %v, want 2", status, err)
			}
			out := strings.TrimSpace(p.Output())
			if out == "" || strings.Contains(out, "\n") {
				t.Errorf("want one line, got %q", out)
			}
			for _, s := range c.says {
				if !strings.Contains(out, s) {
					t.Errorf("%q does not name %q", out, s)
				}
			}
			if rules := h.Rules(t); strings.TrimSpace(rules) != "" {
				t.Errorf("something was installed:\n%s", rules)
			}
		})
	}
}

// TestNoRights: without CAP_NET_ADMIN the program reports that.
func TestNoRights(t *testing.T) {
	needDaemon(t)
	needPrograms(t, "setpriv")
	bin, err := binary.file()
	if err != nil {
		t.Fatal(err)
	}
	Case{Kind: "no rights"}.Count(t)
	h := NewNet(t).Host("fw")
	p, err := h.Start(Cmd("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin",
		bin, "run", "--control-socket", ""))
	if err != nil {
		t.Fatal(err)
	}
	status, err := p.Wait(10 * time.Second)
	if err != nil || status != 1 {
		t.Errorf("exit status %d, %v, want 1", status, err)
	}
	if out := p.Output(); !strings.Contains(out, "CAP_NET_ADMIN") {
		t.Errorf("%q does not name CAP_NET_ADMIN", out)
	}
}
