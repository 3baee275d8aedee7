// SPDX-License-Identifier: Apache-2.0

package fastpath

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/ftpalg"
)

// The filter's variables on its stack, from the frame pointer down.
const (
	onKey   = -keyLen     // of the look-up
	onTCP   = onKey - 24  // the TCP header without options
	onSlot  = onTCP - 4   // index of the slot
	onDir   = onSlot - 4  // direction of the packet
	onStart = onDir - 4   // offset of the payload
	onLen   = onStart - 4 // its length
	onWord  = onLen - 4   // its first four bytes, the first one highest
	onFifth = onWord - 4  // the byte after those
	tcpLen  = 20          // without options
	maxStep = (ftpalg.MaxUnread + 3) &^ 3
)

// TCP flags, the byte at offset 13 of the header.
const flagPSH, flagACK = 0x08, 0x10

// Registers that keep their values across calls.
const (
	ctx     = asm.R6 // struct __sk_buff; LD_ABS and LD_IND need it here
	cursor  = asm.R7
	skbLen  = asm.R8
	thisOne = asm.R9 // the connection's slot
)

// The labels of the three exits.
const (
	queue   = "queue"   // the daemon must see this packet
	disarm  = "disarm"  // and those that follow
	release = "release" // the same, for the owner of the slot
)

// entrance is the program that the rule runs: a tail call into the filter. The
// kernel empties its array when the last process that has it open is gone, and
// then every packet is queued, as without a filter.
func entrance(array *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R2, array.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
}

// filter is ftpalg.Unread.Pass as a socket filter, which gets a packet from its
// IP header on. It returns 1 for a packet that may pass. Any error, such as an
// access beyond the packet's end, makes it return 0.
func filter(conns, slots *ebpf.Map, passive bool) asm.Instructions {
	return slices.Concat(
		findPayload(),
		findSlot(conns, slots),
		checkLine(),
		takeSlot(),
		fromClient(passive),
		fromServer(),
		leave(),
	)
}

// findPayload reads the headers.
func findPayload() asm.Instructions {
	ins := asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMem(skbLen, ctx, 0, asm.Word), // __sk_buff.len
		asm.Mov.Imm(asm.R1, 0),
	}
	for at := onKey; at < 0; at += 8 {
		ins = append(ins, asm.StoreMem(asm.RFP, int16(at), asm.R1, asm.DWord))
	}
	ins = append(ins,
		asm.LoadAbs(0, asm.Byte),
		asm.Mov.Reg(cursor, asm.R0),
		asm.And.Imm(cursor, 15),
		asm.LSh.Imm(cursor, 2),
		asm.RSh.Imm(asm.R0, 4),
		asm.JEq.Imm(asm.R0, 6, "ipv6"),
		asm.JNE.Imm(asm.R0, 4, queue),

		asm.LoadAbs(2, asm.Half), // total length
		asm.JNE.Reg(asm.R0, skbLen, queue),
		asm.LoadAbs(6, asm.Half), // more fragments, and offset
		asm.And.Imm(asm.R0, 0x3fff),
		asm.JNE.Imm(asm.R0, 0, queue),
		asm.LoadAbs(9, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_TCP, queue),
	)
	ins = append(ins, loadBytes(12, onKey, 8)...)
	ins = append(ins, asm.StoreImm(asm.RFP, onKey+v4Mark, -1, asm.Word), asm.Ja.Label("tcp"))

	ins = append(ins,
		asm.LoadAbs(4, asm.Half).WithSymbol("ipv6"), // payload length
		asm.Add.Imm(asm.R0, 40),
		asm.JNE.Reg(asm.R0, skbLen, queue),
		asm.LoadAbs(6, asm.Byte), // no extension header
		asm.JNE.Imm(asm.R0, unix.IPPROTO_TCP, queue),
	)
	ins = append(ins, loadBytes(8, onKey, 32)...)
	ins = append(ins, asm.Mov.Imm(cursor, 40))

	ins = append(ins,
		asm.Mov.Reg(asm.R1, ctx).WithSymbol("tcp"),
		asm.Mov.Reg(asm.R2, cursor),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, onTCP),
		asm.Mov.Imm(asm.R4, tcpLen),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, queue),
		asm.LoadMem(asm.R1, asm.RFP, onTCP, asm.Word), // both ports
		asm.StoreMem(asm.RFP, onKey+keyPorts, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, onTCP+12, asm.Byte), // data offset
		asm.RSh.Imm(asm.R1, 4),
		asm.LSh.Imm(asm.R1, 2),
		asm.JLT.Imm(asm.R1, tcpLen, queue),
		asm.Add.Reg(cursor, asm.R1),
		asm.JGE.Reg(cursor, skbLen, queue), // no payload
		asm.StoreMem(asm.RFP, onStart, cursor, asm.Word),
		asm.Mov.Reg(asm.R1, skbLen),
		asm.Sub.Reg(asm.R1, cursor),
		asm.StoreMem(asm.RFP, onLen, asm.R1, asm.Word),
	)
	return ins
}

// loadBytes copies n bytes of the packet to the stack.
func loadBytes(from, to int16, n int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, int32(from)),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, int32(to)),
		asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, queue),
	}
}

// findSlot finds the connection, and exits if no line of it may pass anyway.
func findSlot(conns, slots *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, conns.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, onKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, queue),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word), // index * 2 + direction
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, 1),
		asm.StoreMem(asm.RFP, onDir, asm.R2, asm.Word),
		asm.RSh.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, onSlot, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, slots.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, onSlot),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, queue),
		asm.Mov.Reg(thisOne, asm.R0),
		asm.LoadMem(asm.R1, thisOne, atState, asm.Word),
		asm.And.Imm(asm.R1, armed),
		asm.JEq.Imm(asm.R1, 0, queue),
	}
}

// checkLine checks that the segment is an ordinary one and its payload one line,
// and loads the line's beginning.
func checkLine() asm.Instructions {
	ins := asm.Instructions{
		asm.LoadMem(asm.R1, asm.RFP, onTCP+13, asm.Byte),
		asm.And.Imm(asm.R1, ^flagPSH&0xff),
		asm.JNE.Imm(asm.R1, flagACK, disarm),
		asm.LoadMem(asm.R1, asm.RFP, onLen, asm.Word),
		asm.JLT.Imm(asm.R1, int32(ftpalg.MinUnread), disarm),
		asm.JGT.Imm(asm.R1, ftpalg.MaxUnread, disarm),
		asm.Mov.Reg(asm.R1, skbLen),
		asm.LoadInd(asm.R0, asm.R1, -2, asm.Half),
		asm.JNE.Imm(asm.R0, '\r'<<8|'\n', disarm),
		asm.LoadInd(asm.R0, cursor, 0, asm.Word),
		asm.StoreMem(asm.RFP, onWord, asm.R0, asm.Word),
		asm.LoadInd(asm.R0, cursor, 4, asm.Byte),
		asm.StoreMem(asm.RFP, onFifth, asm.R0, asm.Word),
		// Four bytes at a time, the last ones twice.
		asm.Mov.Imm(cursor, 0),
		asm.LoadMem(asm.R1, asm.RFP, onLen, asm.Word).WithSymbol("scan"),
		asm.Mov.Reg(asm.R2, cursor),
		asm.Add.Imm(asm.R2, 6), // this word and the line end
		asm.JGT.Reg(asm.R2, asm.R1, "tail"),
		asm.LoadMem(asm.R1, asm.RFP, onStart, asm.Word),
		asm.Add.Reg(asm.R1, cursor),
		asm.LoadInd(asm.R0, asm.R1, 0, asm.Word),
	}
	ins = append(ins, checkWord()...)
	ins = append(ins,
		asm.Add.Imm(cursor, 4),
		asm.JLT.Imm(cursor, maxStep, "scan"),
		asm.Ja.Label(disarm),
		asm.JLT.Imm(asm.R1, 6, "scanned").WithSymbol("tail"),
		asm.Mov.Reg(asm.R1, skbLen),
		asm.LoadInd(asm.R0, asm.R1, -6, asm.Word),
	)
	ins = append(ins, checkWord()...)
	return append(ins, asm.Ja.Label("scanned"))
}

// checkWord looks for a byte in R0 that is LF, NUL or IAC: an exclusive or with
// four of them makes it zero, and only a zero byte borrows.
func checkWord() (ins asm.Instructions) {
	for _, b := range []byte{'\n', 0, 0xff} {
		four := uint32(b) * 0x01010101
		ins = append(ins,
			asm.Mov.Reg32(asm.R1, asm.R0),
			asm.Xor.Imm32(asm.R1, int32(four)),
			asm.Mov.Reg32(asm.R2, asm.R1),
			asm.Sub.Imm32(asm.R2, 0x01010101),
			asm.Xor.Imm32(asm.R1, -1),
			asm.And.Reg32(asm.R1, asm.R2),
			asm.And.Imm32(asm.R1, -0x7f7f7f80), // 0x80808080
			asm.JNE.Imm32(asm.R1, 0, disarm),
		)
	}
	return ins
}

// takeSlot makes the slot this processor's own, if it is still armed and no other
// has it, and checks that the line is the next one.
func takeSlot() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R0, armed).WithSymbol("scanned"),
		asm.Mov.Imm(asm.R1, armed|busy),
		onState(asm.CmpXchg),
		asm.JNE.Imm(asm.R0, armed, disarm),

		asm.LoadMem(asm.R1, asm.RFP, onDir, asm.Word),
		asm.And.Imm(asm.R1, 1),
		asm.LSh.Imm(asm.R1, 2),
		asm.Mov.Reg(cursor, thisOne), // from here on: the slot's fields of this direction
		asm.Add.Reg(cursor, asm.R1),
		asm.LoadMem(asm.R2, cursor, atNext, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, onTCP+4, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.JNE.Reg32(asm.R1, asm.R2, release),
		asm.LoadMem(asm.R1, thisOne, atLeft, asm.Word),
		asm.JEq.Imm(asm.R1, 0, release),

		asm.LoadMem(asm.R0, asm.RFP, onWord, asm.Word),
		asm.LoadMem(asm.R3, thisOne, atPhase, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, onDir, asm.Word),
		asm.JNE.Imm(asm.R1, 0, "reply"),
	}
}

// fromClient judges a command, whose first four bytes are in R0, with the phase
// in R3. Without passive no command passes that asks for a port.
func fromClient(passive bool) asm.Instructions {
	ins := asm.Instructions{
		asm.JNE.Imm(asm.R3, int32(ftpalg.PhaseIdle), release),
		asm.LoadMem(asm.R2, asm.RFP, onLen, asm.Word),
		asm.LoadMem(asm.R4, asm.RFP, onFifth, asm.Word),
		asm.And.Imm32(asm.R0, -0x20202021), // 0xdfdfdfdf: upper case
	}
	commands := ftpalg.UnreadCommands()
	verbs := slices.SortedFunc(maps.Keys(commands), func(a, b [4]byte) int { return slices.Compare(a[:], b[:]) })
	for _, four := range []bool{true, false} {
		if !four { // the fourth byte is the one after the verb
			ins = append(ins,
				asm.LoadMem(asm.R4, asm.RFP, onWord, asm.Word),
				asm.And.Imm(asm.R4, 0xff),
				asm.And.Imm32(asm.R0, -0x100),
				asm.Add.Imm(asm.R2, 1), // as if there were four letters
			)
		}
		for _, v := range verbs {
			if (v[3] != 0) == four && (passive || commands[v] != ftpalg.PhasePassive) {
				ins = append(ins, asm.JEq.Imm32(asm.R0, int32(binary.BigEndian.Uint32(v[:])), behind(commands[v])))
			}
		}
	}
	ins = append(ins, asm.Ja.Label(release))
	for _, p := range []ftpalg.Phase{ftpalg.PhaseAsked, ftpalg.PhaseTransfer, ftpalg.PhasePassive} {
		if p == ftpalg.PhasePassive && !passive {
			continue // nothing jumps there
		}
		ins = append(ins,
			asm.Mov.Imm(asm.R3, int32(p)).WithSymbol(behind(p)),
			asm.JEq.Imm(asm.R2, int32(len("NOOP\r\n")), "command")) // alone in its line
		if p != ftpalg.PhasePassive {
			ins = append(ins, asm.JEq.Imm(asm.R4, ' ', "command"))
		}
		ins = append(ins, asm.Ja.Label(release))
	}
	return append(ins,
		asm.HostTo(asm.BE, asm.R0, asm.Word).WithSymbol("command"),
		asm.StoreMem(thisOne, atVerb, asm.R0, asm.Word),
		asm.Ja.Label("pass"),
	)
}

func behind(p ftpalg.Phase) string { return fmt.Sprintf("phase %d", p) }

// fromServer judges a reply, whose first four bytes are in R0, with the phase in
// R3.
func fromServer() asm.Instructions {
	ins := asm.Instructions{
		asm.JEq.Imm(asm.R3, int32(ftpalg.PhaseAsked), "ends").WithSymbol("reply"),
		asm.JEq.Imm(asm.R3, int32(ftpalg.PhaseBegun), "ends"),
		asm.JEq.Imm(asm.R3, int32(ftpalg.PhaseActive), "active"),
		asm.JNE.Imm(asm.R3, int32(ftpalg.PhaseTransfer), release),
	}
	is := func(code int, label string) asm.Instruction {
		return asm.JEq.Imm32(asm.R0, int32(binary.BigEndian.Uint32(fmt.Appendf(nil, "%d ", code))), label)
	}
	for _, code := range ftpalg.UnreadBegins {
		ins = append(ins, is(code, "begins"))
	}
	ins = append(ins, asm.Mov.Imm(asm.R3, int32(ftpalg.PhaseIdle)).WithSymbol("ends"))
	for _, code := range ftpalg.UnreadEnds {
		ins = append(ins, is(code, "pass"))
	}
	return append(ins,
		asm.Ja.Label(release),
		asm.Mov.Imm(asm.R3, int32(ftpalg.PhaseIdle)).WithSymbol("active"),
		is(ftpalg.UnreadOK, "pass"),
		asm.Ja.Label(release),
		asm.Mov.Imm(asm.R3, int32(ftpalg.PhaseBegun)).WithSymbol("begins"),
	)
}

// leave records the line, with the next phase in R3, and contains the other
// exits.
func leave() asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(thisOne, atPhase, asm.R3, asm.Word).WithSymbol("pass"),
		asm.LoadMem(asm.R1, asm.RFP, onLen, asm.Word),
		asm.LoadMem(asm.R2, cursor, atNext, asm.Word),
		asm.Add.Reg32(asm.R2, asm.R1),
		asm.StoreMem(cursor, atNext, asm.R2, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, onTCP+8, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.StoreMem(cursor, atAcked, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, cursor, atLines, asm.Word),
		asm.Add.Imm32(asm.R1, 1),
		asm.StoreMem(cursor, atLines, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, thisOne, atLeft, asm.Word),
		asm.Sub.Imm32(asm.R1, 1),
		asm.StoreMem(thisOne, atLeft, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, thisOne, atTotal, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(thisOne, atTotal, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R1, ^busy),
		onState(asm.FetchAnd),
		asm.Mov.Imm(asm.R0, 1),
		asm.Return(),

		asm.Mov.Imm(asm.R1, ^(armed | busy)).WithSymbol(release),
		onState(asm.FetchAnd),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),

		asm.Mov.Imm(asm.R1, ^armed).WithSymbol(disarm),
		onState(asm.FetchAnd),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(queue),
		asm.Return(),
	}
}

// onState is an atomic operation on the slot's state with R1. asm of cilium/ebpf
// v0.19 makes it an addition unless the constant names the operation.
func onState(op asm.AtomicOp) asm.Instruction {
	ins := op.Mem(thisOne, asm.R1, asm.Word, atState)
	ins.Constant = int64(op >> 8)
	return ins
}
