// SPDX-License-Identifier: Apache-2.0

package ftpalg

// historySize is how many bytes are kept of a direction to compare repeated
// ones with, if the policy asks for it. What is older is not compared.
const historySize = 2048

// history are the last bytes of a direction. The byte with sequence number n is
// at n % historySize.
type history struct {
	buf [historySize]byte
	end uint32 // sequence number after the last byte
	n   uint32 // how many bytes before it are kept
}

// add notes bytes that go on from seq. What was noted from there on before is
// forgotten: it was not forwarded, and has come again.
func (h *history) add(seq uint32, p []byte) {
	if back := h.end - seq; back <= h.n {
		h.n -= back
	} else {
		h.n = 0
	}
	for i, b := range p {
		h.buf[(seq+uint32(i))%historySize] = b
	}
	h.end = seq + uint32(len(p))
	h.n = min(h.n+uint32(len(p)), historySize)
}

// same reports whether p, whose first byte has the number seq, is what came
// there before, as far as that is known; h may be nil. A single last byte is that of a
// keep-alive probe, which may be anything (RFC 9293 section 3.8.4).
func (h *history) same(seq uint32, p []byte) bool {
	if h == nil || len(p) == 1 && seq+1 == h.end {
		return true
	}
	for i, b := range p {
		at := seq + uint32(i)
		if back := h.end - at; back-1 < h.n && h.buf[at%historySize] != b {
			return false
		}
	}
	return true
}
