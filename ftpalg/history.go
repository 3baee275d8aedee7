// SPDX-License-Identifier: Apache-2.0

package ftpalg

// The bytes of a direction are kept for comparison with retransmissions, if the
// policy asks for it: as many as its receiver has not acknowledged. One of the
// copies may be meant only for the firewall and die on its way, so until then it
// is not known which of them the receiver reads. What it has acknowledged it
// never reads again.
const (
	minHistory = 512
	maxHistory = 8192
)

// history are the last bytes of a direction. The byte with sequence number n is
// at n % len(buf), which is a power of two.
type history struct {
	buf []byte
	end uint32 // sequence number after the last byte
	n   uint32 // how many bytes before it are kept
}

// grow makes room for n bytes.
func (h *history) grow(n int) {
	size := max(len(h.buf), minHistory)
	for size < n && size < maxHistory {
		size *= 2
	}
	if size == len(h.buf) {
		return
	}
	old := *h
	h.buf = make([]byte, size)
	for i := uint32(1); i <= h.n; i++ {
		h.buf[(h.end-i)%uint32(size)] = old.buf[(h.end-i)%uint32(len(old.buf))]
	}
}

// add records bytes that continue from seq. What was recorded from there on
// before is forgotten: it was not forwarded, and was retransmitted.
func (h *history) add(seq uint32, p []byte) {
	if back := h.end - seq; back <= h.n {
		h.n -= back
	} else {
		h.n = 0
	}
	size := uint32(len(h.buf))
	for i, b := range p {
		h.buf[(seq+uint32(i))%size] = b
	}
	h.end = seq + uint32(len(p))
	h.n = min(h.n+uint32(len(p)), size)
}

// same reports whether p, whose first byte has the number seq, is what was sent
// there before, as far as that is known; h may be nil.
func (h *history) same(seq uint32, p []byte) bool {
	if h == nil {
		return true
	}
	for i, b := range p {
		at := seq + uint32(i)
		if back := h.end - at; back-1 < h.n && h.buf[at%uint32(len(h.buf))] != b {
			return false
		}
	}
	return true
}

// probe reports whether p is a keep-alive probe, whose only byte may be anything
// (RFC 9293 section 3.8.4).
func (h *history) probe(seq uint32, p []byte) bool { return len(p) == 1 && seq+1 == h.end }
