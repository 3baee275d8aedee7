// SPDX-License-Identifier: Apache-2.0

package integration

import (
	bin "encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A translator does NAT64 for TCP as Jool does in the namespace of a firewall: it
// takes packets in prerouting, after conntrack and destination NAT (priority
// -75), so that no entry is ever confirmed, and sends the translated ones past
// all hooks but the last. Here a log group delivers the packets and a packet
// socket sends them. Ports do not change, and all clients have one address.
type translator struct {
	fw             *Host
	client, server netip.Addr // IPv6 and IPv4
	pool           netip.Addr // the clients' IPv4 address, one of the firewall's own
	out, in        unix.SockaddrLinklayer
	lose           int // drops one packet in this many; 0: none
	seen           int
}

// wellKnown is the well-known prefix, RFC 6052 section 2.1.
var wellKnown = netip.MustParseAddr("64:ff9b::")

// embed is the IPv6 address of an IPv4 one.
func embed(a netip.Addr) netip.Addr {
	b := wellKnown.As16()
	copy(b[12:], a.AsSlice())
	return netip.AddrFrom16(b)
}

// startTranslator starts one on the first firewall.
func (s *Site) startTranslator(t *testing.T, lose int) *translator {
	t.Helper()
	fw := s.Firewalls[0]
	tr := &translator{fw: fw, client: clientAddr[IPv6], server: serverAddr[IPv4], pool: serverGate[IPv4], lose: lose}
	tr.out = s.linkTo(t, "out0", s.Server, unix.ETH_P_IP)
	tr.in = s.linkTo(t, "in0", s.Client, unix.ETH_P_IPV6)
	const group = 7
	fw.LoadRules(t, `table inet jool {
	chain translate {
		type filter hook prerouting priority -75; policy accept;
		ip6 daddr 64:ff9b::/96 meta l4proto tcp log group 7 snaplen 65535 queue-threshold 1 drop
		iifname "out0" ip daddr `+tr.pool.String()+` tcp sport 21 log group 7 snaplen 65535 queue-threshold 1 drop
	}
}`)
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: fw.FD})
	if err != nil {
		t.Fatal(err)
	}
	// NFULNL_MSG_CONFIG of nfnetlink_log.h: bind, and copy whole packets.
	body := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, group}
	for _, a := range []netlink.Attribute{
		{Type: 1, Data: []byte{1}},
		{Type: 2, Data: []byte{0, 0, 0xff, 0xff, 2, 0}},
	} {
		b, err := netlink.MarshalAttributes([]netlink.Attribute{a})
		if err != nil {
			t.Fatal(err)
		}
		body = append(body, b...)
	}
	if _, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_ULOG<<8 | 1, Flags: netlink.Request | netlink.Acknowledge}, Data: body,
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = fw.Enter(func() error { return tr.run(c) })
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return tr
}

// linkTo returns the link-layer address for packets from the first firewall to a
// host.
func (s *Site) linkTo(t *testing.T, name string, to *Host, proto uint16) unix.SockaddrLinklayer {
	t.Helper()
	dev, err := s.Firewalls[0].Links.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := to.Links.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	a := unix.SockaddrLinklayer{Protocol: proto>>8 | proto<<8, Ifindex: dev.Attrs().Index, Halen: 6}
	copy(a.Addr[:], peer.Attrs().HardwareAddr)
	return a
}

func (tr *translator) run(c *netlink.Conn) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		list, err := c.Receive()
		if err != nil {
			return err
		}
		for _, m := range list {
			if len(m.Data) < 4 {
				continue
			}
			d, err := netlink.NewAttributeDecoder(m.Data[4:])
			for err == nil && d.Next() {
				if d.Type() == 9 { // NFULA_PAYLOAD
					tr.packet(fd, d.Bytes())
				}
			}
		}
	}
}

// packet forwards a packet in the other family.
func (tr *translator) packet(fd int, p []byte) {
	if tr.seen++; tr.lose > 0 && tr.seen%tr.lose == 0 {
		return
	}
	if p[0]>>4 == 6 {
		segment := p[40:]
		h := make([]byte, 20)
		h[0], h[6], h[8], h[9] = 0x45, 0x40, p[7]-1, unix.IPPROTO_TCP
		bin.BigEndian.PutUint16(h[2:], uint16(20+len(segment)))
		copy(h[12:], tr.pool.AsSlice())
		copy(h[16:], tr.server.AsSlice())
		bin.BigEndian.PutUint16(h[10:], ^onesSum(0, h))
		setChecksum(segment, h[12:20])
		_ = unix.Sendto(fd, append(h, segment...), 0, &tr.out)
		return
	}
	segment := p[int(p[0]&0xf)*4:]
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, unix.IPPROTO_TCP, p[8]-1
	bin.BigEndian.PutUint16(h[4:], uint16(len(segment)))
	copy(h[8:], embed(tr.server).AsSlice())
	copy(h[24:], tr.client.AsSlice())
	setChecksum(segment, h[8:40])
	_ = unix.Sendto(fd, append(h, segment...), 0, &tr.in)
}

// setChecksum fills in the checksum of a TCP segment, RFC 9293 section 3.1.
func setChecksum(segment, addrs []byte) {
	segment[16], segment[17] = 0, 0
	sum := onesSum(uint32(unix.IPPROTO_TCP+len(segment)), addrs)
	bin.BigEndian.PutUint16(segment[16:], ^onesSum(uint32(sum), segment))
}

// onesSum is the sum of RFC 1071.
func onesSum(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(bin.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
