// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/doctor/blockfile"
	"github.com/pasvport/pasvport/rules"
)

// The configuration files of the programs of a firewall pair.
const (
	DefaultConntrackd = "/etc/conntrackd/conntrackd.conf"
	DefaultKeepalived = "/etc/keepalived/keepalived.conf"
)

// skewLimit is how far the clocks of two machines may be apart.
const skewLimit = 2 * time.Second

// pairing is what is known about a firewall that is, or may be, one of a pair.
type pairing struct {
	cfg        config.Config
	paired     bool
	conntrackd *blockfile.Block // nil: there is no such file
	keepalived *blockfile.Block
	peer       *control.Peer // nil: no daemon reports it
	link       string        // the interface with the address of --peer-listen; empty: none
	defaults   []string      // the interfaces of default routes
	sysctl     func(name string) (int, bool)
	script     func(path string) (string, bool) // the text of a script of keepalived
	found      func(level Level, text string, hints ...string)
}

// pair examines this host's set-up for a failover.
func (e *examination) pair(q Question, d daemon) {
	p := &pairing{cfg: e.cfg, peer: d.status.Peer, sysctl: e.sysctl, script: readScript}
	p.found = func(level Level, text string, hints ...string) { e.found(level, topicPair, text, hints...) }
	p.paired, _ = e.cfg.Paired()
	p.conntrackd = e.readBlocks(q.Conntrackd, "#", 0)
	p.keepalived = e.readBlocks(q.Keepalived, "#!", 0)
	if p.paired {
		p.link, p.defaults = linkOf(e.cfg.PeerListen), defaultLinks()
	}
	p.examine()
}

// readBlocks reads a file of blocks with those that it includes, and reports a
// failure; nil if it does not exist.
func (e *examination) readBlocks(path, comments string, depth int) *blockfile.Block {
	const most = 8 // they may include one another
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || path == "" {
		return nil
	}
	var file *blockfile.Block
	if err == nil {
		file, err = blockfile.Parse(string(text), comments)
	}
	if err != nil {
		e.found(Warn, topicPair, fmt.Sprintf("%s is not looked at: %v", path, err))
		return nil
	}
	for _, x := range file.All("include") {
		more, _ := filepath.Glob(filepath.Join(filepath.Dir(path), x.Arg(0)))
		if filepath.IsAbs(x.Arg(0)) {
			more, _ = filepath.Glob(x.Arg(0))
		}
		for _, name := range more {
			if depth == most {
				break
			}
			if part := e.readBlocks(name, comments, depth+1); part != nil {
				file.Blocks = append(file.Blocks, part.Blocks...)
			}
		}
	}
	return file
}

// readScript returns the text of a script.
func readScript(path string) (string, bool) {
	text, err := os.ReadFile(path)
	return string(text), err == nil
}

// linkOf returns the interface that has an address, by HOST:PORT.
func linkOf(hostPort string) string {
	ap, err := netip.ParseAddrPort(hostPort)
	links, err2 := net.Interfaces()
	if errors.Join(err, err2) != nil {
		return ""
	}
	for _, l := range links {
		addrs, _ := l.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == ap.Addr().WithZone("") {
				return l.Name
			}
		}
	}
	return ""
}

// defaultLinks returns the interfaces of default routes.
func defaultLinks() (list []string) {
	for _, f := range []struct {
		file      string
		dest, len int // fields
		name      int
		any, all  string
	}{
		{"/proc/thread-self/net/route", 1, 7, 0, "00000000", "00000000"},
		{"/proc/thread-self/net/ipv6_route", 0, 1, 9, strings.Repeat("0", 32), "00"},
	} {
		text, _ := os.ReadFile(f.file)
		for line := range strings.Lines(string(text)) {
			w := strings.Fields(line)
			if len(w) > max(f.len, f.name) && w[f.dest] == f.any && w[f.len] == f.all && w[f.name] != "lo" {
				list = append(list, w[f.name])
			}
		}
	}
	return list
}

// examine reports what would break FTP in a failover.
func (p *pairing) examine() {
	sync := p.conntrackd != nil && len(p.conntrackd.All("Sync")) > 0
	switch {
	case !p.paired && !sync:
		return
	case !p.paired:
		p.found(Warn, "conntrackd shares connections with another machine, and pasvport does not know of that: a failover loses what is announced and translated",
			"set peer, peer-listen and peer-key on both machines; see docs/guides/pair.md")
	case p.conntrackd != nil && !sync:
		p.found(Problem, "conntrackd has no Sync block: it shares no connection with the other machine", "see docs/guides/pair.md")
	}
	p.daemons()
	p.dedicated()
	p.kernel()
	if sync {
		p.synced()
	}
	if p.keepalived != nil {
		p.moved(sync)
	}
}

// daemons reports the state of the link between the daemons.
func (p *pairing) daemons() {
	switch s := p.peer; {
	case s == nil:
	case s.Link != control.PeerUp:
		text := fmt.Sprintf("the daemon of the other machine (%s) is not connected: a failover loses what is announced", s.Address)
		if s.Reason != "" {
			text += ": " + s.Reason
		}
		p.found(Problem, text, hints(s.Hint)...)
	default:
		p.found(OK, fmt.Sprintf("the daemon of the other machine (%s) is connected, %d sessions are held for it", s.Address, s.Held))
	}
	if s := p.peer; s != nil && s.Link != control.PeerDown && (s.Skew > skewLimit.Seconds() || s.Skew < -skewLimit.Seconds()) {
		p.found(Warn, fmt.Sprintf("the clock of the other machine is %+.1f s from this one's: the logs of the two do not fit together", s.Skew), "have both follow NTP")
	}
}

func hints(h string) []string {
	if h == "" {
		return nil
	}
	return []string{h}
}

// dedicated reports whether the link of the pair carries anything else.
func (p *pairing) dedicated() {
	const hint = "a link of its own between the two machines; what is told there says what is open"
	switch {
	case !p.paired:
	case p.link == "":
		p.found(Problem, fmt.Sprintf("no interface has the address of peer-listen %s", p.cfg.PeerListen), "give the link between the machines that address")
	case slices.Contains(p.defaults, p.link):
		p.found(Warn, fmt.Sprintf("the link of the pair is not dedicated: %s has a default route", p.link), hint)
	case p.virtual(p.link):
		p.found(Warn, fmt.Sprintf("the link of the pair is not dedicated: keepalived has addresses on %s", p.link), hint)
	default:
		p.found(OK, fmt.Sprintf("the link of the pair is %s", p.link))
	}
}

// virtual reports whether keepalived moves an address on an interface.
func (p *pairing) virtual(link string) bool {
	if p.keepalived == nil {
		return false
	}
	for _, v := range p.keepalived.All("vrrp_instance") {
		for _, kind := range []string{"virtual_ipaddress", "virtual_ipaddress_excluded"} {
			for _, list := range v.All(kind) {
				for _, a := range list.Blocks {
					on := v.Value("interface")
					if i := slices.Index(a.Words, "dev"); i >= 0 && i+1 < len(a.Words) {
						on = a.Words[i+1]
					}
					if on == link {
						return true
					}
				}
			}
		}
	}
	return false
}

// kernel checks how conntrack treats a connection whose packets passed another
// machine.
func (p *pairing) kernel() {
	const dir = "net/netfilter/nf_conntrack_"
	if v, ok := p.sysctl(dir + "tcp_be_liberal"); ok && v == 0 {
		p.found(Warn, "nf_conntrack_tcp_be_liberal is off: on a machine that packets have passed by, as when both were active, connections stay invalid",
			"sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1, on both machines")
	}
	if v, ok := p.sysctl(dir + "tcp_loose"); ok && v == 0 {
		p.found(Warn, "nf_conntrack_tcp_loose is off: what comes in a failover before conntrackd has its entry is dropped, and comes again later",
			"sysctl -w net.netfilter.nf_conntrack_tcp_loose=1, on both machines")
	}
}

// synced checks what conntrackd shares.
func (p *pairing) synced() {
	for _, o := range p.conntrackd.All("Sync", "Options", "ExpectationSync") {
		if isOn(o.Arg(0)) {
			p.found(Problem, "conntrackd has ExpectationSync On: it makes pasvport's expectations on the other machine without their translation, in place of the ones that pasvport makes",
				"take it out, or name the helpers of other protocols alone: ExpectationSync { sip }")
		}
		for _, x := range o.Blocks {
			for _, helper := range x.Words {
				if strings.EqualFold(helper, rules.CarrierSane.String()) {
					p.found(Problem, "conntrackd has ExpectationSync with "+helper+": it makes pasvport's expectations on the other machine without their translation, in place of the ones that pasvport makes",
						"take "+helper+" out: pasvport tells the other machine what is open")
				}
			}
		}
	}
	p.filters()
	if !isOn(p.setting("DisableExternalCache")) {
		return
	}
	if script, flushes := p.notifies("notify_backup", "-t"); flushes && p.setting("PurgeTimeout") != "0" {
		p.found(Problem, fmt.Sprintf("%s has conntrackd flush the table of a machine that becomes the backup (conntrackd -t, PurgeTimeout), and with DisableExternalCache nothing brings it back: the next failover loses all sessions", script),
			"take the line with -t out of the script, or DisableExternalCache Off")
	}
}

// setting returns a setting of the mode of conntrackd, or of an alternative place.
func (p *pairing) setting(name string) string {
	for _, mode := range p.conntrackd.All("Sync", "Mode") {
		if v := mode.Value(name); v != "" {
			return v
		}
	}
	return ""
}

// filters reports what conntrackd leaves out.
func (p *pairing) filters() {
	for _, filter := range p.conntrackd.All("General", "Filter") {
		for _, f := range filter.Blocks {
			var names []string
			for _, x := range f.Blocks {
				names = append(names, x.Words...)
			}
			has := func(name string) bool {
				return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
			}
			kind, accept := strings.ToLower(f.Words[0]), strings.EqualFold(f.Arg(0), "accept")
			switch {
			case kind == "protocol" && has("TCP") != accept:
				p.found(Problem, "conntrackd leaves out TCP: no session survives a failover", "put TCP into General, Filter, Protocol Accept")
			case kind == "state" && has("ESTABLISHED") != accept:
				p.found(Problem, "conntrackd leaves out established connections: no session survives a failover", "put ESTABLISHED into General, Filter, State Accept")
			}
		}
	}
}

func isOn(word string) bool { return strings.EqualFold(word, "on") || strings.EqualFold(word, "yes") }

// moved checks what keepalived does when the addresses move.
func (p *pairing) moved(sync bool) {
	if len(p.keepalived.All("vrrp_instance")) == 0 {
		p.found(Warn, "keepalived has no vrrp_instance: it moves no address")
		return
	}
	if !sync || isOn(p.setting("DisableExternalCache")) {
		return
	}
	script, commits := p.notifies("notify_master", "-c")
	switch {
	case script == "":
		p.found(Problem, "keepalived has no notify_master: nothing has conntrackd commit its cache, and a failover loses all sessions",
			`notify_master "/etc/conntrackd/primary-backup.sh primary"; see docs/guides/pair.md`)
	case !commits:
		p.found(Warn, fmt.Sprintf("%s does not seem to have conntrackd commit its cache (conntrackd -c): without that a failover loses all sessions", script),
			"see /usr/share/doc/conntrackd/examples/sync/primary-backup.sh")
	}
}

// notifies returns the script that keepalived runs at an event, of an instance or
// of a group, and reports whether it uses an option of conntrackd. An empty
// script means that nothing is run. A script that cannot be read is assumed to be correct.
func (p *pairing) notifies(event, option string) (script string, has bool) {
	if p.keepalived == nil {
		return "", false
	}
	for _, block := range []string{"vrrp_instance", "vrrp_sync_group"} {
		for _, name := range []string{event, "notify"} {
			for _, x := range p.keepalived.All(block, name) {
				words := strings.Fields(x.Arg(0))
				if len(words) == 0 {
					continue
				}
				script = words[0]
				text, ok := p.script(script)
				if !ok {
					return script, event == "notify_master"
				}
				if hasOption(text, option) {
					return script, true
				}
			}
		}
	}
	return script, false
}

// betweenWords reports whether a character separates words of a script.
func betweenWords(r rune) bool { return strings.ContainsRune(" \t\r\n;&|()", r) }

// hasOption reports whether a line of a script, comments apart, contains a word.
func hasOption(script, option string) bool {
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && slices.Contains(strings.FieldsFunc(line, betweenWords), option) {
			return true
		}
	}
	return false
}
