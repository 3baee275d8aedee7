// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A situation is a pattern common in rulesets of real firewalls, rewritten from
// scratch and as small as possible, with the verdict the doctor must give. Each
// was seen in public: Ansible roles, routers, container hosts, and the output of
// shorewall, csf, fail2ban, firewalld, ufw, OpenWrt's fw4 and VyOS.
type situation struct {
	name     string
	seen     string // source of such rulesets
	position string // the site's position; empty: routed
	rules    string // input of nft -f
	iptables []string
	flags    []string
	ends     []string // flags of the doctor
	word     word
}

// A word is the doctor's verdict for a position, or what transfers do there.
type word string

const (
	works  word = "works"       // control and data connections pass
	fails  word = "fails"       // control connections pass, data connections fail in at least one mode
	closed word = "nothing"     // no control connection passes
	unsure word = "cannot tell" // verdict of the doctor only
)

const (
	input      = "type filter hook input priority filter; policy drop; "
	forward    = "type filter hook forward priority filter; policy drop; "
	output     = "type filter hook output priority filter; "
	prerouting = "type filter hook prerouting priority "
	stateful   = "ct state established,related accept; "
	// neighbours lets IPv6 find hosts.
	neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; "
)

const (
	here      = "server-on-firewall"
	clientToo = "client-on-firewall"
)

// links name the interfaces of the site's firewall for the doctor.
var links = []string{"--client-interface", "in0", "--server-interface", "out0"}

// redirected is a server on the firewall itself that listens on a port other than
// the one clients dial.
var redirected = Position{Name: "server-on-2121", Target: clientGate, ServerLocal: true, Dialled: []uint16{21}, Listening: []uint16{2121}}

var situations = []situation{
	// Servers.
	{name: "CIS: established only, by protocol", seen: "CIS benchmark for nftables", position: here, word: fails,
		rules: firewall("chain input { " + input + `iif "lo" accept; ip protocol tcp ct state established accept; tcp dport { 21, 22 } accept; }`)},
	{name: "policy drop, related accepted", seen: "Debian wiki, many roles", position: here, word: works,
		rules: firewall("chain input { " + input + `iif lo accept; ` + stateful + "tcp dport 21 accept; }\nchain forward { " + forward + "}")},
	{name: "vmap of states, families apart", seen: "nftables wiki, simple ruleset", position: here, word: works,
		rules: firewall("chain four { icmp type echo-request limit rate 5/second accept; }\nchain six { " + neighbours + "}\n" +
			"chain inbound { " + input + "ct state vmap { established : accept, related : accept, invalid : drop }; iifname lo accept; meta protocol vmap { ip : jump four, ip6 : jump six }; tcp dport { 21, 22 } accept; }")},
	{name: "checks of flags and segment size", seen: "ansible-role-nftables, server example", position: here, word: works,
		rules: firewall("chain input { " + input + `ct state invalid drop; ip frag-off & 0x1fff != 0 counter drop;
			tcp flags & (fin|syn|rst|psh|ack|urg) == fin|syn|rst|psh|ack|urg counter drop; tcp flags & (fin|syn|rst|psh|ack|urg) == 0x0 counter drop;
			tcp flags syn tcp option maxseg size 1-536 counter drop; tcp flags & (fin|syn|rst|ack) != syn ct state new counter drop; ` + stateful + "tcp dport 21 accept; }")},
	{name: "the same at mangle", seen: "anti-DDoS collections", position: here, word: works,
		rules: firewall("chain pre { " + prerouting + "mangle; ct state invalid drop; tcp flags & (fin|syn|rst|ack) != syn ct state new drop; tcp flags syn tcp option maxseg size 1-535 drop; }\nchain input { " + input + stateful + "tcp dport 21 accept; }")},
	{name: "state asked before conntrack", seen: "an installer with a table raw", position: here, word: closed,
		rules: "table ip raw { chain prerouting { " + prerouting + "-301; ct state invalid drop; }; }\n" + firewall("chain input { "+input+stateful+"tcp dport 21 accept; }")},
	{name: "new without SYN, before conntrack", seen: "a hardening script", position: here, word: works,
		rules: "table inet raw { chain prerouting { " + prerouting + "raw; tcp flags & (fin|syn|rst|ack) != syn ct state new drop; tcp flags & (fin|syn|rst|psh|ack|urg) == 0 drop; }; }\n" + firewall("chain input { "+input+stateful+"tcp dport 21 accept; }")},
	{name: "states in one table, services in another", seen: "havlasme/ansible, drop-ins", position: here, word: fails,
		rules: "table inet states { chain input { type filter hook input priority filter - 20; policy accept; ct state vmap { established : accept, related : accept, invalid : drop }; }; }\n" +
			firewall("chain input { "+input+"ct state established accept; tcp dport 21 accept; }")},
	{name: "states in one table, services in another that drops new ones", seen: "the same, as meant", position: here, word: works,
		rules: "table inet states { chain input { type filter hook input priority filter - 20; policy accept; ct state vmap { established : accept, related : accept, invalid : drop }; }; }\n" +
			firewall("chain input { type filter hook input priority filter; policy accept; ct state != new accept; tcp dport 21 accept; drop; }")},
	{name: "a range for passive mode instead of related", seen: "vsftpd how-tos", position: here, word: unsure,
		rules: firewall("chain input { " + input + "ct state established accept; tcp dport { 20, 21 } accept; tcp dport 40000-40100 accept; }")},
	{name: "all high ports", seen: "vsftpd how-tos", position: here, word: works,
		rules: firewall("chain input { " + input + "ct state established accept; tcp dport 21 accept; tcp dport 1024-65535 accept; }")},
	{name: "related only of the helper ftp", seen: "scripts for iptables", position: here, word: fails,
		iptables: []string{"-P INPUT DROP", "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-A INPUT -m conntrack --ctstate RELATED -m helper --helper ftp -p tcp --dport 1024: -j ACCEPT", "-A INPUT -p tcp --dport 21 -j ACCEPT"}},
	{name: "helper at input", seen: "firewalld's service ftp, Arch wiki", position: here, word: works,
		rules: firewall("ct helper ftp-standard { type \"ftp\" protocol tcp; }\nchain input { " + input + `iif lo accept; ` + stateful + "tcp dport 21 ct helper set \"ftp-standard\" accept; }")},
	{name: "SYNs limited", seen: "scripts for iptables", position: here, word: works,
		iptables: []string{"-P INPUT DROP", "-N SYN_FLOOD", "-A INPUT -p tcp --syn -j SYN_FLOOD", "-A SYN_FLOOD -m limit --limit 100/s --limit-burst 200 -j RETURN", "-A SYN_FLOOD -j DROP",
			"-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT", "-A INPUT -p tcp --dport 21 -j ACCEPT"}},
	{name: "hashlimit and connlimit", seen: "anti-DDoS collections", position: here, word: works,
		iptables: []string{"-P INPUT DROP", "-A INPUT -p tcp -m conntrack --ctstate NEW,RELATED -m hashlimit --hashlimit-above 200/sec --hashlimit-burst 300 --hashlimit-mode srcip --hashlimit-name pvp -j DROP",
			"-A INPUT -p tcp --syn -m connlimit --connlimit-above 80 --connlimit-mask 32 -j REJECT", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A INPUT -p tcp --dport 21 -j ACCEPT"}},
	{name: "port scanners remembered", seen: "scripts for iptables", position: here, word: works,
		iptables: []string{"-P INPUT DROP", "-A INPUT -m recent --name portscan --rcheck --seconds 86400 -j DROP", "-A INPUT -m recent --name portscan --remove",
			"-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A INPUT -p tcp --dport 21 -j ACCEPT"}},
	{name: "fail2ban", seen: "fail2ban's iptables-multiport", position: here, word: works,
		iptables: []string{"-P INPUT DROP", "-N f2b-vsftpd", "-A INPUT -p tcp -m multiport --dports 21,20,990,989 -j f2b-vsftpd", "-A f2b-vsftpd -s 192.0.2.66/32 -j REJECT --reject-with icmp-port-unreachable", "-A f2b-vsftpd -j RETURN",
			"-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A INPUT -p tcp --dport 21 -j ACCEPT"}},
	{name: "fail2ban in a table of its own", seen: "fail2ban's nftables", position: here, word: works,
		rules: "table inet f2b-table { set addr-set-vsftpd { type ipv4_addr; elements = { 192.0.2.66 }; }; chain f2b-chain { type filter hook input priority filter - 1; policy accept; tcp dport { 21, 990 } ip saddr @addr-set-vsftpd reject; }; }\n" +
			firewall("chain input { "+input+stateful+"tcp dport 21 accept; }")},
	{name: "like csf", seen: "csf with its chains", position: here, word: works,
		iptables: []string{"-P INPUT DROP", "-P OUTPUT DROP", "-N LOCALINPUT", "-N INVALID", "-N INVDROP", "-N LOGDROPIN", "-A INPUT -i lo -j ACCEPT", "-A INPUT ! -i lo -p tcp -j INVALID", "-A INPUT ! -i lo -j LOCALINPUT",
			"-A INVDROP -j DROP", "-A INVALID -m conntrack --ctstate INVALID -j INVDROP", "-A INVALID -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j INVDROP", "-A INVALID -p tcp -m tcp --tcp-flags SYN,RST SYN,RST -j INVDROP", "-A INVALID -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j INVDROP",
			"-A LOCALINPUT -s 192.0.2.66/32 -j DROP", "-A INPUT ! -i lo -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A INPUT ! -i lo -p tcp -m conntrack --ctstate NEW -m tcp --dport 21 -j ACCEPT", "-A INPUT ! -i lo -j LOGDROPIN", "-A LOGDROPIN -j DROP",
			"-A OUTPUT ! -o lo -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"}},
	{name: "like ufw", seen: "a stock host with ufw, routing headers of IPv6", position: here, word: works,
		iptables: []string{"-P INPUT DROP", "-N ufw-before-input", "-N ufw-not-local", "-N ufw-user-input", "-A INPUT -j ufw-before-input", "-A ufw-before-input -i lo -j ACCEPT", "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"-A ufw-before-input -m conntrack --ctstate INVALID -j DROP", "-A ufw-before-input -j ufw-not-local", "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN", "-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN", "-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN", "-A ufw-not-local -j DROP",
			"-A ufw-before-input -j ufw-user-input", "-A ufw-user-input -p tcp -m tcp --dport 21 -j ACCEPT",
			"6 -P INPUT DROP", "6 -N ufw6-before-input", "6 -A INPUT -j ufw6-before-input", "6 -A ufw6-before-input -i lo -j ACCEPT", "6 -A ufw6-before-input -m rt --rt-type 0 -j DROP", "6 -A ufw6-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "6 -A ufw6-before-input -p tcp --dport 21 -j ACCEPT"}},
	{name: "only from an address", seen: "many roles", position: here, word: works,
		rules: firewall("chain input { " + input + stateful + "ip saddr 10.7.0.0/24 tcp dport 21 accept; }")},
	{name: "a redirection to a high port", seen: "containers without privileges", position: "server-on-2121", word: works,
		rules: "table ip nat { chain pre { type nat hook prerouting priority dstnat; tcp dport 21 redirect to :2121; }; }\n" + firewall("chain input { "+input+stateful+"tcp dport 2121 accept; }")},
	{name: "a redirection, the old port accepted", seen: "the same, gone wrong", position: "server-on-2121", word: closed,
		rules: "table ip nat { chain pre { type nat hook prerouting priority dstnat; tcp dport 21 redirect to :2121; }; }\n" + firewall("chain input { "+input+stateful+"tcp dport 21 accept; }")},
	// Clients.
	{name: "output by port, nothing related", seen: "air-gapped guests", position: clientToo, word: fails,
		rules: firewall("chain output { " + output + "policy drop; ct state established accept; oifname lo accept; meta l4proto { icmp, icmpv6 } accept; tcp dport { 21, 80, 443 } accept; }")},
	{name: "helper by a rule at output", seen: "hardened workstations", position: clientToo, word: works,
		rules: firewall("ct helper ftp-inet { type \"ftp\" protocol tcp; }\nchain input { " + input + stateful + "iif lo accept; " + neighbours + "}\nchain output { " + output + "tcp dport 21 ct helper set \"ftp-inet\"; }")},
	{name: "client of a server elsewhere, named", seen: "output by the address of the client", word: works, ends: []string{"--client", "10.7.0.2"},
		rules: firewall("chain forward { " + forward + stateful + "tcp dport 21 accept; }\nchain output { " + output + "policy drop; ip saddr 10.7.0.2 drop; ct state established accept; }")},
	// Routers.
	{name: "like OpenWrt's fw4", seen: "fw4 with zones lan and wan", position: "masquerade", word: works,
		rules: `table inet fw4 {
		chain forward { type filter hook forward priority filter; policy drop; ct state vmap { established : accept, related : accept }; iifname "in0" jump forward_lan; iifname "out0" jump forward_wan; jump handle_reject; }
		chain forward_lan { jump accept_to_wan; jump accept_to_lan; }
		chain forward_wan { ct status dnat accept; jump reject_to_wan; }
		chain accept_to_wan { meta nfproto ipv4 oifname "out0" ct state invalid counter drop; oifname "out0" counter accept; }
		chain accept_to_lan { oifname "in0" counter accept; }
		chain reject_to_wan { oifname "out0" counter jump handle_reject; }
		chain handle_reject { meta l4proto tcp reject with tcp reset; reject; }
		chain raw_prerouting { type filter hook prerouting priority raw; policy accept; }
		chain helper { type filter hook prerouting priority filter; policy accept; iifname "in0" jump helper_lan; }
		ct helper ftp { type "ftp" protocol tcp; }
		chain helper_lan { tcp dport 21 ct helper set "ftp"; }
		chain srcnat { type nat hook postrouting priority srcnat; policy accept; oifname "out0" meta nfproto ipv4 masquerade; }
		}
`},
	{name: "like VyOS", seen: "VyOS, global state policy", word: works,
		rules: `table ip vyos_filter {
		chain VYOS_FORWARD_filter { type filter hook forward priority filter; policy accept; jump VYOS_STATE_POLICY_FORWARD; iifname { "in0" } oifname "out0" jump NAME_LAN-WAN; counter drop; }
		chain VYOS_STATE_POLICY_FORWARD { jump VYOS_STATE_POLICY; }
		chain VYOS_STATE_POLICY { ct state established counter accept; ct state invalid counter drop; ct state related counter accept; return; }
		chain NAME_LAN-WAN { tcp dport 21 counter accept; counter drop; }
		}
`},
	{name: "like VyOS, without related", seen: "VyOS, a rule for established in each chain", word: fails,
		rules: `table ip vyos_filter {
		chain VYOS_FORWARD_filter { type filter hook forward priority filter; policy accept; iifname "in0" jump NAME_LAN-WAN; iifname "out0" jump NAME_WAN-LAN; drop; }
		chain NAME_LAN-WAN { ct state established accept; tcp dport 21 accept; counter drop; }
		chain NAME_WAN-LAN { ct state established accept; counter drop; }
		}
`},
	{name: "like shorewall", seen: "shorewall, zones by interface", ends: links, word: works,
		iptables: []string{"-P FORWARD DROP", "-N in0_fwd", "-N out0_fwd", "-N loc2net", "-N net2loc", "-N dynamic", "-N smurfs", "-N tcpflags", "-A FORWARD -i in0 -j in0_fwd", "-A FORWARD -i out0 -j out0_fwd", "-A FORWARD -j REJECT",
			"-A in0_fwd -m conntrack --ctstate NEW,INVALID,UNTRACKED -j dynamic", "-A in0_fwd -m conntrack --ctstate NEW,INVALID,UNTRACKED -j smurfs", "-A in0_fwd -p tcp -j tcpflags", "-A in0_fwd -o out0 -j loc2net",
			"-A out0_fwd -m conntrack --ctstate NEW,INVALID,UNTRACKED -j dynamic", "-A out0_fwd -p tcp -j tcpflags", "-A out0_fwd -o in0 -j net2loc",
			"-A smurfs -s 0.0.0.0/32 -j RETURN", "-A smurfs -m addrtype --src-type BROADCAST -j DROP", "-A smurfs -s 224.0.0.0/4 -j DROP",
			"-A tcpflags -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG FIN,PSH,URG -j DROP", "-A tcpflags -p tcp -m tcp --tcp-flags FIN,SYN FIN,SYN -j DROP", "-A tcpflags -p tcp -m tcp --sport 0 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
			"-A loc2net -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A loc2net -p tcp --dport 21 -j ACCEPT", "-A loc2net -j REJECT", "-A net2loc -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A net2loc -j DROP"}},
	{name: "NixOS, reverse path by a chain", seen: "NixOS with networking.nftables", word: works,
		rules: `table inet nixos-fw {
		chain rpfilter { type filter hook prerouting priority mangle + 10; policy drop; meta nfproto ipv4 udp sport . udp dport { 67 . 68, 68 . 67 } accept; fib saddr . mark . iif oif exists accept; jump rpfilter-allow; }
		chain rpfilter-allow { }
		chain forward { type filter hook forward priority filter; policy drop; ct state vmap { invalid : drop, established : accept, related : accept, new : jump forward-allow, untracked : jump forward-allow }; }
		chain forward-allow { icmpv6 type != { router-renumbering, 139 } accept; ct status dnat accept; iifname "in0" tcp dport 21 accept; }
		}
`},
	{name: "NixOS, reverse path by iptables", seen: "NixOS without nftables", word: works,
		iptables: []string{"-t mangle -N nixos-fw-rpfilter", "-t mangle -A PREROUTING -j nixos-fw-rpfilter", "-t mangle -A nixos-fw-rpfilter -m rpfilter --validmark -j RETURN", "-t mangle -A nixos-fw-rpfilter -j DROP",
			"-P FORWARD DROP", "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A FORWARD -p tcp --dport 21 -j ACCEPT"}},
	{name: "firewalld without a forwarded port", seen: "a stock host with firewalld that forwards", word: closed,
		rules: `table inet firewalld {
		chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; ct state { established, related } accept; ct status dnat accept; iifname "lo" accept; ct state invalid drop; reject with icmpx admin-prohibited; }
		}
`},
	{name: "firewalld with a forwarded port", seen: "firewall-cmd --add-forward-port", position: "dnat", word: works,
		rules: `table inet firewalld {
		chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept; jump nat_PREROUTING_ZONES; }
		chain nat_PREROUTING_ZONES { iifname "in0" goto nat_PRE_external; }
		chain nat_PRE_external { jump nat_PRE_external_allow; }
		chain nat_PRE_external_allow { meta nfproto ipv4 tcp dport 21 dnat ip to 203.0.113.2:21; }
		chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; ct state { established, related } accept; ct status dnat accept; iifname "lo" accept; ct state invalid drop; reject with icmpx admin-prohibited; }
		}
`},
	{name: "what is translated, and no states", seen: "home routers by hand", position: "dnat", word: fails,
		rules: "table ip nat { chain pre { type nat hook prerouting priority dstnat; iifname \"in0\" tcp dport 21 dnat to 203.0.113.2; }; }\n" +
			firewall("chain forward { "+forward+"ct state established accept; oifname \"out0\" tcp dport 21 ct status dnat accept; }")},
	{name: "a map of ports and addresses", seen: "routers by NixOS", position: "dnat", word: works,
		rules: "table ip nat { chain pre { type nat hook prerouting priority dstnat; iifname \"in0\" dnat to meta l4proto . th dport map { tcp . 21 : 203.0.113.2, tcp . 80 : 203.0.113.7 }; }; }\n" +
			firewall("chain forward { "+forward+"ct state vmap { established : accept, related : accept, invalid : drop }; ct status dnat accept; }")},
	{name: "a forwarded port with another number", seen: "home routers by hand", position: "dnat-from-2121", word: works, flags: []string{"--port", "2121"},
		rules: "table ip nat { chain pre { type nat hook prerouting priority dstnat; tcp dport 2121 dnat to 203.0.113.2:21; }; }\n" +
			firewall("chain forward { "+forward+stateful+"ip daddr 203.0.113.2 tcp dport 21 ct state new accept; }")},
	{name: "a forwarded port with another number, the old one accepted", seen: "the same, gone wrong", position: "dnat-from-2121", word: closed, flags: []string{"--port", "2121"},
		rules: "table ip nat { chain pre { type nat hook prerouting priority dstnat; tcp dport 2121 dnat to 203.0.113.2:21; }; }\n" +
			firewall("chain forward { "+forward+stateful+"tcp dport 2121 ct state new accept; }")},
	{name: "like Docker, a published port", seen: "docker run -p 21:21", position: "dnat", word: works, ends: []string{"--server-interface", "out0", "--client-interface", "in0", "--server", "203.0.113.2"},
		iptables: []string{"-P FORWARD DROP", "-t nat -N DOCKER", "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", "-t nat -A DOCKER ! -i out0 -p tcp -m tcp --dport 21 -j DNAT --to-destination 203.0.113.2:21",
			"-N DOCKER", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-A FORWARD -o out0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A FORWARD -o out0 -j DOCKER", "-A FORWARD -i out0 ! -o out0 -j ACCEPT",
			"-A DOCKER -d 203.0.113.2/32 ! -i out0 -o out0 -p tcp -m tcp --dport 21 -j ACCEPT", "-A DOCKER ! -i out0 -o out0 -j DROP", "-A DOCKER-USER -j RETURN"}},
	{name: "like Kubernetes", seen: "kube-proxy's chains", word: works,
		iptables: []string{"-P FORWARD DROP", "-N KUBE-FORWARD", "-N KUBE-FIREWALL", "-N KUBE-SERVICES", "-A FORWARD -j KUBE-FORWARD", "-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES", "-A FORWARD -s 10.7.0.0/24 -j ACCEPT",
			"-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP", "-A INPUT -j KUBE-FIREWALL", "-A OUTPUT -j KUBE-FIREWALL",
			"-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP", "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT", "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp --dport 443 -j REJECT"}},
	{name: "like libvirt", seen: "libvirt's network default", ends: append([]string{"--client", "10.7.0.2"}, links...), position: "masquerade", word: works,
		iptables: []string{"-N LIBVIRT_FWI", "-N LIBVIRT_FWO", "-N LIBVIRT_FWX", "-A FORWARD -j LIBVIRT_FWX", "-A FORWARD -j LIBVIRT_FWI", "-A FORWARD -j LIBVIRT_FWO", "-A LIBVIRT_FWX -i in0 -o in0 -j ACCEPT",
			"-A LIBVIRT_FWI -d 10.7.0.0/24 -o in0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A LIBVIRT_FWI -o in0 -j REJECT", "-A LIBVIRT_FWO -s 10.7.0.0/24 -i in0 -j ACCEPT", "-A LIBVIRT_FWO -i in0 -j REJECT",
			"-t nat -A POSTROUTING -s 10.7.0.0/24 ! -d 10.7.0.0/24 -j MASQUERADE"}},
	{name: "related from outside only", seen: "routers by hand", ends: links, word: works,
		rules: "table ip filter { chain forward { " + forward + `iifname "in0" oifname "out0" accept; iifname "out0" oifname "in0" ct state related,established accept; }; }` + "\n"},
	{name: "established from outside only", seen: "the same, stricter", ends: links, word: fails,
		rules: "table ip filter { chain forward { " + forward + `iifname "in0" oifname "out0" accept; iifname "out0" oifname "in0" ct state established accept; }; }` + "\n"},
	{name: "a mark that prerouting gives", seen: "policy routing", ends: links, word: works,
		rules: firewall("chain pre { " + prerouting + "mangle + 20; iifname { \"in0\", \"out0\" } meta mark set 0x1; }\nchain forward { " + forward + "meta mark 0x1 ct state established,related accept; meta mark 0x1 tcp dport 21 accept; }")},
	{name: "countries by a set, before states", seen: "zero trust installers", word: works,
		rules: firewall("set home { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 203.0.113.0/24 }; }\nchain forward { " + forward + "ip saddr != @home drop; " + stateful + "tcp dport 21 accept; }")},
	{name: "bogons at a device", seen: "knocking daemons with a table netdev", word: works,
		rules: "table netdev firewall { chain in { type filter hook ingress device \"in0\" priority -500; ip saddr { 192.0.2.0/24, 198.18.0.0/15 } drop; tcp flags & (fin|syn) == fin|syn drop; }; }\n" +
			firewall("chain forward { "+forward+stateful+"tcp dport 21 accept; }")},
	{name: "ports at a device", seen: "the same, gone too far", word: fails, ends: links,
		rules: "table netdev firewall { chain in { type filter hook ingress device \"in0\" priority -500; tcp dport != { 21, 22 } tcp flags & (fin|syn|rst|ack) == syn drop; }; }\n" +
			firewall("chain forward { "+forward+stateful+"tcp dport 21 accept; }")},
	{name: "a drop in front of states that only data meets", seen: "gone wrong: high ports closed first", word: fails,
		rules: firewall("chain forward { " + forward + "tcp dport { 135-139, 445, 1024-65535 } ct state related,new drop; " + stateful + "tcp dport 21 accept; }")},
}

// TestDoctorSituations checks that the doctor's verdict on each situation matches
// what transfers do. Only rows that say so may have the verdict "cannot tell".
func TestDoctorSituations(t *testing.T) {
	for _, row := range situations {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := patient{name: row.name, position: row.position, rules: row.rules, iptables: row.iptables, flags: row.flags}
			if row.position == redirected.Name {
				p.at = &redirected
			}
			s := p.site(t)
			d := s.examine(t, append(slices.Clone(row.flags), row.ends...)...)
			said, did := d.word(s.Position), s.tryAll(t, row.word)
			t.Logf("| %s | %s | %s | %s |", row.name, row.seen, said, did)
			if did == works { // passed by the daemon, not by the in-kernel helper
				if err := s.Daemons[0].WaitLog(openTimeout, `msg="pinhole opened"`); err != nil {
					t.Error(err)
				}
			}
			switch {
			case said != row.word:
				t.Errorf("the doctor's verdict is %q, want %q: %+v", said, row.word, d)
			case said != did && said != unsure:
				t.Errorf("the doctor's verdict is %q, transfers say %q: %+v", said, did, d)
			}
		})
	}
}

// tryAll opens a control connection, and data connections in both modes.
func (s *Site) tryAll(t *testing.T, want word) word {
	t.Helper()
	control, timeout := openTimeout, openTimeout
	if want != works {
		timeout = refusedTimeout * slowness
	}
	if want == closed {
		control = timeout
	}
	ln := s.ListenControl(t, IPv4)
	c, err := s.ClientHost().Dial(netip.AddrPort{}, s.Dial(s.ClientHost(), IPv4, 0), control)
	if err != nil {
		return closed
	}
	c.Close()
	if a, err := ln.AcceptTCP(); err == nil {
		a.Close()
	}
	if failed := s.tryModes(t, s.Talk(t, ln, s.ClientHost(), IPv4), timeout); len(failed) > 0 {
		t.Log(failed)
		return fails
	}
	return works
}

// word is the verdict of the findings on IPv4 in a position.
func (d diagnosis) word(p Position) word {
	name := "forward"
	switch {
	case p.ServerLocal:
		name = "input"
	case p.ClientLocal:
		name = "output"
	}
	said := works
	for _, f := range d.Findings {
		if f.Position != "" && f.Position != name || len(f.Families) > 0 && !slices.Contains(f.Families, "IPv4") {
			continue
		}
		switch {
		case strings.HasPrefix(f.Text, "new control connections are dropped"), strings.HasPrefix(f.Text, "control connections are dropped in every"):
			return closed
		case f.Level == "problem":
			said = fails
		case f.Level == "warn" && said == works && (f.Topic == "data" || f.Topic == "control" || f.Topic == "conflict"):
			said = unsure
		}
	}
	return said
}
