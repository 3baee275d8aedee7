// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/ftpalg"
)

// translators reports which translators between IPv6 and IPv4 are in this network
// namespace, and whether we see both sides of what they translate. To netfilter a
// program with a TUN device, or a module with a device of its own, is like a
// router. A translator that takes packets in a netfilter hook, or below, is not:
// conntrack never confirms an entry for them.
func (e *examination) translators() {
	for _, name := range []string{"tayga", "tundra-nat64"} {
		if runsHere(name) {
			e.seesTranslator(name + " runs here")
		}
	}
	if e.loaded("nat46") {
		e.seesTranslator("the module nat46 is loaded")
	}
	const own = "put it into a network namespace of its own, with this one between it and both ends: docs/guides/nat64.md"
	module, known := kernel.Bypass()
	switch jool := e.loaded("jool"); {
	case module != "":
		e.found(Warn, topicConflict, fmt.Sprintf("%s translates between IPv6 and IPv4 in this network namespace: it takes packets before conntrack confirms them, so FTP through it passes unread", module), own)
	case jool && known:
		e.seesTranslator("the module jool is loaded, for another network namespace")
	case jool:
		e.found(Warn, topicConflict, "the module jool is loaded: FTP that it translates in this network namespace passes unread", own)
	}
	if module == "" && e.loaded("jool") {
		e.found(OK, topicConflict, "through Jool active mode works for the ports that its table has",
			"for each: ip netns exec NAMESPACE jool -i INSTANCE bib add --tcp CLIENT6#PORT POOL4#PORT")
	}
	for _, p := range bpfTranslators() {
		e.found(Warn, topicConflict, fmt.Sprintf("%s: if it translates between IPv6 and IPv4, FTP through it passes unread, as its packets do not pass conntrack twice", p), own)
	}
}

// seesTranslator reports on a translator both sides of which pass our hooks.
func (e *examination) seesTranslator(what string) {
	local := slices.ContainsFunc(e.cfg.NAT64, func(t ftpalg.NAT64) bool { return t.Pool.IsValid() })
	switch {
	case local:
		e.found(OK, topicConflict, what+": both sides of what it translates pass our rules, and --nat64 says which they are")
	case len(e.cfg.NAT64) > 0:
		e.found(Warn, topicConflict, what+", and --nat64 names no POOL: it is taken for one on another machine, and active mode is not translated",
			"add the IPv4 addresses that stand for IPv6 clients: --nat64 PREFIX,POOL")
	default:
		e.found(Warn, topicConflict, what+": without --nat64 FTP through it works with EPSV alone, where the server knows it",
			"if it translates for IPv6 clients, --nat64 PREFIX,POOL: docs/guides/nat64.md")
	}
}

// runsHere reports whether a program of this name runs in our network namespace.
func runsHere(name string) bool {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return false
	}
	comms, _ := filepath.Glob("/proc/[0-9]*/comm")
	return slices.ContainsFunc(comms, func(file string) bool {
		comm, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(comm)) != name {
			return false
		}
		ns, err := os.Readlink(filepath.Join(filepath.Dir(file), "ns/net"))
		return err == nil && ns == own
	})
}

// loaded reports whether the kernel has a module.
func (e *examination) loaded(module string) bool {
	_, err := os.Stat(filepath.Join(e.sysfs, "module", module))
	return err == nil
}

// attribute is the text of an attribute after a header.
func attribute(b []byte, header int, typ uint16, path ...uint16) (text string) {
	if len(b) < header {
		return ""
	}
	a, err := netlink.NewAttributeDecoder(b[header:])
	if err != nil {
		return ""
	}
	for a.Next() {
		switch {
		case a.Type() != typ:
		case len(path) > 0:
			text = attribute(a.Bytes(), 0, path[0], path[1:]...)
		default:
			text = a.String()
		}
	}
	return text
}

// Of <linux/if_link.h>, <linux/rtnetlink.h> and <linux/pkt_cls.h>.
const (
	sizeofIfinfomsg = 16
	sizeofTcmsg     = 20
	iflaXDPAttached = 2
	tcaBPFName      = 7
	clsactIngress   = 0xfffffff2
)

var translates = regexp.MustCompile(`(?i)nat64|nat46|clat|siit|464`)

// bpfTranslators are eBPF programs that see packets before netfilter and may
// translate them: those at XDP, and those at ingress with a matching name.
func bpfTranslators() (list []string) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil
	}
	defer c.Close()
	links, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | netlink.Dump}, Data: make([]byte, sizeofIfinfomsg),
	})
	if err != nil {
		return nil
	}
	for _, m := range links {
		name := attribute(m.Data, sizeofIfinfomsg, unix.IFLA_IFNAME)
		if mode := attribute(m.Data, sizeofIfinfomsg, unix.IFLA_XDP, iflaXDPAttached); mode != "" {
			list = append(list, name+" has an XDP program")
		}
		ask := make([]byte, sizeofTcmsg)
		copy(ask[4:8], m.Data[4:8]) // the interface's index
		binary.NativeEndian.PutUint32(ask[12:], clsactIngress)
		filters, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETTFILTER, Flags: netlink.Request | netlink.Dump}, Data: ask,
		})
		if err != nil {
			continue
		}
		for _, f := range filters {
			if bpf := attribute(f.Data, sizeofTcmsg, unix.TCA_OPTIONS, tcaBPFName); translates.MatchString(bpf) {
				list = append(list, fmt.Sprintf("%s has the eBPF program %s at its ingress", name, bpf))
			}
		}
	}
	return slices.Compact(list)
}
