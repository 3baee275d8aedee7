// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"regexp"
	"strings"
	"testing"
)

// initLines match the commands that init suggests.
var initLines = regexp.MustCompile(`(?m)^#   (nft .*)$`)

// TestInit starts from a ruleset that accepts neither FTP nor related
// connections. With the configuration and the commands that init suggests, in two
// rounds, transfers succeed in both modes. init itself changes nothing.
func TestInit(t *testing.T) {
	site := lifecycleSite(t, Auto, AllowRelated, "init")
	fw := site.Firewalls[0]
	bin, err := binary.file()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := fw.Run(startTimeout, Cmd("nft", "flush ruleset")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fw.LoadRules(t, `table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established accept
	}
}
table inet nat {
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "out*" masquerade
	}
}
`)
	empty, err := fw.File("empty.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{bin, "init", "--config", empty, "--client-interface", "in0", "--server-interface", "out0"}
	config := ""
	for range 3 {
		before := fw.rulesWithoutCounters(t)
		out, err := fw.Run(startTimeout, Cmd(args...))
		if err != nil {
			t.Fatalf("init: %v\n%s", err, out)
		}
		if after := fw.rulesWithoutCounters(t); after != before {
			t.Errorf("init changed the ruleset to\n%s\nfrom\n%s", after, before)
		}
		config = out
		lines := initLines.FindAllStringSubmatch(out, -1)
		t.Logf("init printed:\n%s", out)
		for _, line := range lines {
			if out, err := fw.Run(startTimeout, Cmd("sh", "-c", strings.NewReplacer("{", "'{", "}", "}'").Replace(line[1]))); err != nil {
				t.Fatalf("%s: %v: %s", line[1], err, out)
			}
		}
		if len(lines) == 0 {
			break
		}
	}
	if !strings.HasPrefix(config, "# By pasvport init: clients behind in0, servers behind out0.\nport: [21]\n") {
		t.Errorf("the configuration is\n%s", config)
	}
	d := site.startWithFile(t, config)
	site.Daemons = append(site.Daemons, d.Daemon)
	site.mustTransfer(t, site.StartServer(t, Pyftpdlib))
}
