// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Addresses of the demonstration (RFC 1918 inside, RFC 5737 TEST-NET-3 outside).
const (
	clientAddr   = "192.168.77.2"
	insideAddr   = "192.168.77.1"
	outsideAddr  = "203.0.113.1"
	serverAddr   = "203.0.113.2"
	strangerAddr = "203.0.113.66" // a second address of the server's machine
)

// namespacePrefix begins the name of every namespace of every demo; the process
// id follows.
const namespacePrefix = "pvp-demo-"

// drawing is the network as build makes it.
const drawing = `
  private network                firewall                    the internet
 +---------------+      +---------------------------+      +---------------+
 |  FTP client   |      |  drops what is not allowed|      |  FTP server   |
 |  192.168.77.2 |------| 192.168.77.1  203.0.113.1 |------|  203.0.113.2  |
 +---------------+      +---------------------------+      +---------------+
                         pasvport will run here, and
                         nothing at all on the others
`

// firewallRules is an ordinary strict ruleset. It knows nothing of FTP beyond
// its control port, and does not even accept "related" connections.
const firewallRules = `table inet firewall {
	chain input {
		type filter hook input priority filter; policy drop;
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established accept
		iifname "inside" oifname "outside" tcp dport 21 accept
	}
}
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "outside" masquerade
	}
}
`

// A network is the three namespaces of one demonstration.
type network struct {
	client, firewall, server string
}

func newNetwork() *network {
	prefix := namespacePrefix + strconv.Itoa(os.Getpid())
	return &network{client: prefix + "-client", firewall: prefix + "-firewall", server: prefix + "-server"}
}

// build makes namespaces, links, addresses and the firewall's ruleset.
func (n *network) build(ctx context.Context) error {
	removeStale(ctx)
	for _, ns := range n.all() {
		if _, err := output(ctx, "ip", "netns", "add", ns); err != nil {
			return err
		}
	}
	commands := []string{
		"ip link add eth0 netns " + n.client + " type veth peer name inside netns " + n.firewall,
		"ip link add eth0 netns " + n.server + " type veth peer name outside netns " + n.firewall,
	}
	for _, ns := range n.all() {
		commands = append(commands, "ip -n "+ns+" link set lo up")
	}
	commands = append(commands,
		"ip -n "+n.client+" addr add "+clientAddr+"/24 dev eth0",
		"ip -n "+n.firewall+" addr add "+insideAddr+"/24 dev inside",
		"ip -n "+n.firewall+" addr add "+outsideAddr+"/24 dev outside",
		"ip -n "+n.server+" addr add "+serverAddr+"/24 dev eth0",
		"ip -n "+n.server+" addr add "+strangerAddr+"/24 dev eth0",
		"ip -n "+n.client+" link set eth0 up",
		"ip -n "+n.firewall+" link set inside up",
		"ip -n "+n.firewall+" link set outside up",
		"ip -n "+n.server+" link set eth0 up",
		// The server has no route to the private network, as in the real world.
		"ip -n "+n.client+" route add default via "+insideAddr,
	)
	for _, c := range commands {
		if _, err := output(ctx, strings.Fields(c)...); err != nil {
			return err
		}
	}
	if _, err := output(ctx, n.inside(n.firewall, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")...); err != nil {
		return err
	}
	load := command(ctx, n.inside(n.firewall, "nft", "-f", "-")...)
	load.Stdin = strings.NewReader(firewallRules)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("loading the firewall's ruleset: %w: %s", err, out)
	}
	return nil
}

func (n *network) all() []string { return []string{n.client, n.firewall, n.server} }

// inside is the command line that runs args in a namespace.
func (n *network) inside(ns string, args ...string) []string {
	return append([]string{"ip", "netns", "exec", ns}, args...)
}

// remove takes the namespaces away; links and rulesets go with them.
func (n *network) remove() {
	for _, ns := range n.all() {
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
}

// removeStale takes away what a demo that was killed left: namespaces named
// after a process that is no more.
func removeStale(ctx context.Context) {
	paths, _ := filepath.Glob("/run/netns/" + namespacePrefix + "*")
	for _, path := range paths {
		name := filepath.Base(path)
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, namespacePrefix), "-")
		if _, err := os.Stat("/proc/" + pid); os.IsNotExist(err) {
			_, _ = output(ctx, "ip", "netns", "del", name)
		}
	}
}

// output runs a command and returns what it printed; an error carries what it
// complained about.
func output(ctx context.Context, args ...string) (string, error) {
	out, err := command(ctx, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
