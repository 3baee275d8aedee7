# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# site.sh: a firewall between a client and a server, for the tests of features.
# The firewall's kinds are routed (its default), bridge and vrf; NAT is nft text.

inside4=10.7.0.1 inside6=fd07::1
server4=203.0.113.200 server6=2001:db8:113::200 outside4=203.0.113.171 outside6=2001:db8:113::171
dir=/tmp/site
python=/usr/bin/python3

on() { ip netns exec "$@"; } # HOST COMMAND...

# record HOST FILE: records its packets in the background. tcpdump stays root: there
# is no user here that it could become. $! is tcpdump's.
record() { (exec ip netns exec "$1" tcpdump -Z root -i any -n -U -s 400 -c 50000 -w "$2" >/dev/null 2>&1) & }

# site KIND: makes the namespaces client, fw and server and connects them.
site() {
	local h
	mkdir -p $dir/fw $dir/client $dir/server
	chmod 777 $dir/server
	for h in client fw server; do
		ip netns add vm-$h && ip -n vm-$h link set lo up || return 1
		on vm-$h sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	done
	ip link add eth0 netns vm-client type veth peer name in0 netns vm-fw || return 1
	ip link add eth0 netns vm-server type veth peer name out0 netns vm-fw || return 1
	on vm-fw sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	"site_$1" || return 1
	for h in client server; do ip -n vm-$h link set eth0 up; done
	for h in in0 out0; do ip -n vm-fw link set $h up; done
	record vm-fw $dir/fw/pcap
	site_routes "$1"
}

site_routed() {
	site_addresses 10.7.0.2/24 fd07::2/64 203.0.113.200/24 2001:db8:113::200/64
	site_gateways in0 out0
}

# Both networks are one, so the client's addresses are the server's neighbours.
site_bridge() {
	site_addresses 10.7.0.2/24 fd07::2/64 10.7.0.200/24 fd07::200/64
	server4=10.7.0.200 server6=fd07::200
	modprobe br_netfilter || return 1
	ip -n vm-fw link add br0 type bridge forward_delay 0 || return 1
	ip -n vm-fw link set in0 master br0 && ip -n vm-fw link set out0 master br0 &&
		ip -n vm-fw link set br0 up || return 1
	on vm-fw sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
}

site_vrf() {
	ip -n vm-fw link add red type vrf table 10 && ip -n vm-fw link set red up || return 1
	ip -n vm-fw link set in0 master red && ip -n vm-fw link set out0 master red || return 1
	site_routed
}

site_addresses() { # CLIENT4 CLIENT6 SERVER4 SERVER6
	ip -n vm-client addr add "$1" dev eth0 && ip -n vm-client addr add "$2" dev eth0 nodad &&
		ip -n vm-server addr add "$3" dev eth0 && ip -n vm-server addr add "$4" dev eth0 nodad
}

site_gateways() { # INSIDE OUTSIDE
	ip -n vm-fw addr add $inside4/24 dev "$1" && ip -n vm-fw addr add $inside6/64 dev "$1" nodad &&
		ip -n vm-fw addr add $outside4/24 dev "$2" && ip -n vm-fw addr add $outside6/64 dev "$2" nodad
}

site_routes() {
	[ "$1" != bridge ] || return 0
	ip -n vm-client route add default via $inside4 && ip -n vm-client route add default via $inside6 &&
		ip -n vm-server route add default via $outside4 && ip -n vm-server route add default via $outside6
}

# filter [NFT]: the administrator's ruleset, which drops all but control
# connections and what belongs to them; more nft text behind it. Input is closed
# too: a segment that the tracker cannot place is not translated back, reaches the
# firewall's own stack, and would be answered by a reset.
filter() {
	on vm-fw nft -f - <<-EOT
		table inet filter {
			chain input {
				type filter hook input priority filter; policy accept;
				iifname { "in0", "out0", "br0", "red" } ct state { new, invalid } meta l4proto tcp counter drop
			}
			chain forward {
				type filter hook forward priority filter; policy drop;
				icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
				ct state established,related accept
				icmp type echo-request accept
				tcp dport 21 ct state new accept
			}
		}
		${1:-}
	EOT
}

# snat [CONDITION]: translates clients' addresses to the firewall's.
snat() {
	echo "table inet nat { chain post { type nat hook postrouting priority srcnat; ${1:-oifname \"out0\"} masquerade; }; }"
}

# daemon [FLAGS]: starts pasvport, unprivileged, and waits until it is ready.
daemon() {
	on vm-fw /vm/daemon run --control-socket $dir/fw/control.sock --log-level debug "$@" >$dir/fw/log 2>&1 &
	daemon=$!
	until grep -qs msg=ready $dir/fw/log; do
		kill -0 "$daemon" 2>/dev/null || { wait "$daemon"; daemon=; return 1; }
		sleep 0.1
	done
}

# status KEY: a value of pasvport status --json, features by features.NAME.
status() {
	on vm-fw /vm/daemon status --json --control-socket $dir/fw/control.sock |
		$python -I -c '
import functools, json, sys
print(functools.reduce(lambda o, k: o.get(k), sys.argv[1].split("."), json.load(sys.stdin)))' "$1"
}

# serve: an FTP server with a file to fetch, which takes uploads too.
serve() {
	head -c 100000 /dev/urandom >$dir/server/file
	chmod 644 $dir/server/file
	on vm-server $python -I -c "$(cat /vm/integration/testdata/ftp_server.py)" \
		"{\"root\": \"$dir/server\", \"user\": \"pvp\", \"password\": \"secret\", \"passive\": null,
		\"listen\": [[\"$server4\", 21], [\"$server6\", 21]]}" >$dir/server/log 2>&1 &
	server=$!
	until grep -qs '^listening' $dir/server/log; do
		kill -0 "$server" 2>/dev/null || { cat $dir/server/log; return 1; }
		sleep 0.1
	done
}

# fetch SERVER MODE: fetches the file twice over one control connection. Succeeds
# if all bytes arrive; prints what went wrong. One python for all: to start one
# takes a second here.
fetch() { on vm-client $python -I -S -c "$fetch_job" "$1" "$2" /vm/integration/testdata/ftp_client.py; }

fetch_job='
import contextlib, io, json, sys
host, mode, client = sys.argv[1:]
names = ["/tmp/site/client/0", "/tmp/site/client/1"]
sys.stdin = io.StringIO(json.dumps({"host": host, "port": 21, "user": "pvp", "password": "secret", "timeout": 10.0, "source": None,
    "sessions": [[{"mode": mode, "op": "get", "remote": "file", "local": name} for name in names]]}))
said = io.StringIO()
with contextlib.redirect_stdout(said):
    try:
        exec(compile(open(client).read(), client, "exec"), {"__name__": "__main__"})
    except SystemExit:
        pass
result = json.loads(said.getvalue())["sessions"][0]
want = open("/tmp/site/server/file", "rb").read()
if result["error"]:
    sys.exit("%s %s: %s; last lines %s" % (host, mode, result["error"], result["log"][-6:]))
if any(open(name, "rb").read() != want for name in names):
    sys.exit("%s %s: bytes differ" % (host, mode))
'

# demolish: ends every process of the site and deletes it.
demolish() {
	local h
	for h in client fw server; do
		ip netns pids vm-$h 2>/dev/null | while read -r pid; do kill -9 "$pid"; done
		ip netns del vm-$h 2>/dev/null
	done
	rm -rf $dir
}

# keep_capture TEST: the firewall's packets, for the host.
keep_capture() { mkdir -p /out/captures && cp $dir/fw/pcap "/out/captures/$1.pcap" 2>/dev/null; }

# describe_site prints what a person wants to see after a failure.
describe_site() {
	echo "---- pasvport"
	tail -n 60 $dir/fw/log
	on vm-fw nft list ruleset
	on vm-fw conntrack -L 2>/dev/null
	on vm-fw conntrack -L expect 2>/dev/null
	cat /proc/net/netfilter/nfnetlink_queue 2>/dev/null
	lsmod | awk '{ print $1 }' | sort | paste -sd' '
}
