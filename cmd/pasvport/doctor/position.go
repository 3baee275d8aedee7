// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// A path is the hooks that a packet traverses.
type path []walk.Hook

var (
	through = path{walk.HookIngress, walk.HookPrerouting, walk.HookForward, walk.HookPostrouting}
	in      = path{walk.HookIngress, walk.HookPrerouting, walk.HookInput}
	out     = path{walk.HookOutput, walk.HookPostrouting}
)

// A position is a role that this host can have in an FTP session.
type position struct {
	name, words string
	control     path // from the client to the server
	back        path
	modes       []mode
}

// A way is the direction of a packet.
type way uint8

const (
	toServer way = iota
	toClient
	either // unknown
)

// back is the way of the answer.
func (w way) back() way { return [...]way{toClient, toServer, either}[w] }

// A mode is a way in which data connections are opened, with their paths.
type mode struct {
	name      string
	syn, back path
	way       way // of its first packet
}

var positions = []position{
	{"forward", "sessions that pass through this host", through, through, nil},
	{"input", "servers on this host", in, out, []mode{{"passive", in, out, toServer}, {"active", out, in, toClient}}},
	{"output", "clients on this host", out, in, []mode{{"passive", out, in, toServer}, {"active", in, out, toClient}}},
}

// modesOf are the modes that have to be distinguished. For forwarded packets the
// two differ only if something is known of the ends.
func (e *examination) modesOf(p position) []mode {
	switch {
	case p.modes != nil:
		return p.modes
	case e.ends == Ends{}:
		return []mode{{"", through, through, either}}
	}
	return []mode{{"passive", through, through, toServer}, {"active", through, through, toClient}}
}

// elsewhere says why the ends cannot be those of sessions in a position: this
// host is one of them, or is not. It is empty if they can.
func (e *examination) elsewhere(p position) string {
	for _, end := range []struct {
		flag string
		addr netip.Addr
		here bool // the position has this end on this host
	}{{"--client", e.ends.Client, p.name == "output"}, {"--server", e.ends.Server, p.name == "input"}} {
		if !end.addr.IsValid() {
			continue
		}
		if local := slices.Contains(e.local, end.addr); local != end.here {
			return fmt.Sprintf("%s %s is %san address of this host", end.flag, end.addr, map[bool]string{true: "", false: "not "}[local])
		}
	}
	return ""
}

var familyNames = map[rules.Family]string{rules.FamilyIPv4: "IPv4", rules.FamilyIPv6: "IPv6"}
