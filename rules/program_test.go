// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/pasvport/pasvport/integration/stage"
)

// payloadStartsWith is a socket filter that matches IPv4 packets whose TCP
// payload starts with a byte. An access beyond the packet's end returns 0.
func payloadStartsWith(t *testing.T, b byte) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(20+12, asm.Byte), // TCP data offset
		asm.RSh.Imm(asm.R0, 4),
		asm.LSh.Imm(asm.R0, 2),
		asm.LoadInd(asm.R0, asm.R0, 20, asm.Byte),
		asm.JEq.Imm(asm.R0, int32(b), "match"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("match"),
		asm.Return(),
	}})
	if err != nil {
		t.Skipf("eBPF programs cannot be loaded here: %v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestTrafficProgram: packets that the eBPF program of a descriptor matches are
// not queued, in either direction, nor counted as such; all others are. The rule
// survives the descriptor, and is put back with it.
func TestTrafficProgram(t *testing.T) {
	n := newTopology(t)
	program := payloadStartsWith(t, 'N')
	if err := probeProgram(n.router.FD, program.FD()); err != nil {
		t.Skipf("the match bpf: %v", err)
	}
	if got := n.router.Run(t, "nft", "list", "tables"); strings.Contains(got, probeTable) {
		t.Errorf("the probe left:\n%s", got)
	}
	c := Config{Queue: testQueue(t, n.router), Queues: 1, Carrier: CarrierNone, FastPath: program.FD()}
	f := installed(t, n.router, c)
	client, server := connect(t, n.client, listen(t, n.server, serverV4, 21))
	talk := func() {
		t.Helper()
		passed, queued := counters(t, n.router, "inet", "pasvport", "data"), sum(queueCounters(t, n.router))
		for _, from := range []net.Conn{client, server} {
			to := net.Conn(server)
			if from == server {
				to = client
			}
			say(t, from, to, "NOOP\r\n")
			say(t, from, to, "NOOP\r\n")
			say(t, from, to, "PORT\r\n")
		}
		now := counters(t, n.router, "inet", "pasvport", "data")
		if got := now[len(now)-1] - passed[len(passed)-1]; got != 4 {
			t.Errorf("%d packets passed, want 4", got)
		}
		if got := sum(queueCounters(t, n.router)) - queued; got != 2 {
			t.Errorf("%d packets were queued, want 2", got)
		}
	}
	talk()
	n.router.Run(t, "nft", "delete", "table", "inet", "pasvport")
	if h, err := f.Heal(); err != nil || len(h.Missing) == 0 {
		t.Fatal(h, err)
	}
	if h, err := f.Heal(); err != nil || len(h.Missing) != 0 {
		t.Errorf("put back again: %v, %v", h, err)
	}
	talk()
	program.Close()
	talk()
}

// TestNoProgram: the kernel returns an error for a descriptor that is not a
// program.
func TestNoProgram(t *testing.T) {
	n := stage.New(t)
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := probeProgram(n.FD, int(file.Fd())); err == nil {
		t.Error("a file was accepted as a program")
	}
}
