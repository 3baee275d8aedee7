// SPDX-License-Identifier: Apache-2.0

package walk

// The packets of an FTP session as rules see them: properties that differ between
// sessions are unknown.

// ephemeral are the ports from which clients connect.
var ephemeral = PortRange{Low: 1024, High: 65535}

// anyMark covers all bits of a ct mark.
const anyMark = ^uint32(0)

// ControlSYN opens a control connection to one of some ports.
func ControlSYN(f Family, ports PortRange) Packet {
	return Packet{
		Family: f, SYN: true, State: StateNew, MarkMask: anyMark,
		SrcPort: ephemeral, DstPort: ports,
	}
}

// ControlEstablished is a packet of a control connection that carries a command.
func ControlEstablished(f Family, ports PortRange, mark uint32) Packet {
	p := ControlSYN(f, ports)
	p.SYN, p.State, p.Mark = false, StateEstablished, mark
	return p
}

// ControlReply is a packet of a control connection that carries a reply.
func ControlReply(f Family, ports PortRange, mark uint32) Packet {
	return reply(ControlEstablished(f, ports, mark))
}

// DataSYN opens an announced data connection to a port from lowest up, in either
// mode: the packet that pasvport exists for.
func DataSYN(f Family, lowest uint16, mark uint32) Packet {
	return Packet{
		Family: f, SYN: true, State: StateRelated, Expected: true, Mark: mark, MarkMask: anyMark,
		SrcPort: PortRange{Low: 1, High: 65535}, DstPort: PortRange{Low: lowest, High: 65535},
	}
}

// DataEstablished is a later packet of a data connection, in the direction of
// the one that opened it.
func DataEstablished(f Family, lowest uint16, mark uint32) Packet {
	p := DataSYN(f, lowest, mark)
	p.SYN, p.State = false, StateEstablished
	return p
}

// DataReply is a packet of a data connection in the other direction.
func DataReply(f Family, lowest uint16, mark uint32) Packet {
	return reply(DataEstablished(f, lowest, mark))
}

// reply turns a packet round.
func reply(p Packet) Packet {
	p.Reply = true
	p.OrigSrcPort, p.OrigDstPort = p.SrcPort, p.DstPort
	p.SrcPort, p.DstPort = p.DstPort, p.SrcPort
	p.Src, p.Dst, p.In, p.Out = p.Dst, p.Src, p.Out, p.In
	return p
}
