// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/lost"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// TestDialogue: a translated session, from its first packet to a data connection.
func TestDialogue(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	if sent := l.passive(50000); sent != "227 Entering Passive Mode (203,0,113,1,195,80).\r\n" {
		t.Errorf("the client received %q", sent)
	}
	if len(b.k.expected) != 1 || b.k.expected[0].Dest != ap("203.0.113.1:50000") || b.k.expected[0].ToPort != 50000 {
		t.Fatalf("expected: %+v", b.k.expected)
	}
	if adj := b.k.adjusted[l.entry.Original]; adj[expect.Reply].After != 3 {
		t.Errorf("the kernel adjusts by %+v", adj)
	}
	b.logs(`msg="session began"`, "client=198.51.100.1:40000")
	b.logs("msg=login", "user=ada")
	b.logs(`msg="pinhole opened"`, "verb=PASV", "translated=203.0.113.1:50000")
	s := l.session()
	if c := s.Snapshot(b.pinholes.Data.Traffic(&s.Owner), time.Now()); c.User != "ada" || c.Mode != "passive" || c.Offer.Pinhole != "open" {
		t.Errorf("it is shown as %+v", c)
	}
	if b.metrics.Pinholes.Open.Load() != 1 || b.metrics.Sessions.Load() != 1 {
		t.Error("it is not counted")
	}
	l.accepts(client, "RETR file\r\n")
	if !s.TransferWaits() {
		t.Error("no transfer command waits for its reply")
	}
	if n := b.registry.held(); n == 0 || n > 8<<10 { // at least the edit of the reply
		t.Errorf("%d bytes are held", n)
	}
}

// TestClaimedDialogue: a session without a carrier. The SYN of the data
// connection creates its entry, once.
func TestClaimedDialogue(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(plainEntry(1))
	if len(b.k.expected) != 0 || len(b.k.elements) != 1 {
		t.Fatalf("expectations %v, elements %v", b.k.expected, b.k.elements)
	}
	data := expect.Tuple{Src: ap("198.51.100.1:40001"), Dst: ap("203.0.113.1:50000")}
	for range 2 { // the second finds the entry
		p := packetOf(t, data, 1, 0, "", nfq.FlagSYN)
		b.ids++
		p.ID = b.ids
		if v, _ := b.handle(p); v != "accept" {
			t.Errorf("the SYN: %s", v)
		}
	}
	if e := b.k.entries[data]; e == nil || e.Master != l.entry.Original {
		t.Errorf("the entry of the data connection: %+v", e)
	}
	if b.metrics.Pinholes.Used.Load() != 1 {
		t.Error("the pinhole is not used once")
	}
}

// TestHold: a line in pieces waits for its rest, and is forwarded in order, or
// dropped when it has waited long enough.
func TestHold(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait time.Duration
		want string
	}{
		{"the rest comes", 0, "accept"},
		{"the rest does not come", holdTime, "drop"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.connect(entryOf(1))
			l.logIn()
			l.accepts(client, "PASV\r\n")
			if v, _ := l.say(server, "227 Entering Passive Mode (10,0,0,2,"); v != "held" {
				t.Fatalf("half a line: %s", v)
			}
			first := b.ids
			if d := b.w.Deadline(); d.IsZero() || time.Until(d) > holdTime {
				t.Errorf("the worker wakes at %v", d)
			}
			if tt.wait > 0 {
				b.w.Wake(time.Now().Add(tt.wait))
			} else {
				l.say(server, "195,80).\r\n")
			}
			v, _ := b.verdict(first, "")
			if tt.want == "accept" && (v == "held" || v == "drop") || tt.want == "drop" && v != "drop" {
				t.Errorf("half a line: %s, want %s", v, tt.want)
			}
			if b.w.shelf.waiting != 0 || !b.w.Deadline().IsZero() {
				t.Error("something is still held")
			}
		})
	}
}

// TestFinish: what is held when the queue is no longer served is dropped. It is
// retransmitted in one piece, and the next daemon, which knows that it did not
// pass, reads it.
func TestFinish(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	l.say(server, "227 Entering Passive ")
	b.w.finish()
	if v, _ := b.verdict(b.ids, ""); v != "drop" {
		t.Errorf("what was held: %s", v)
	}
	r := l.session().Acquire(&b.w.work)
	if r == nil {
		t.Fatal("the session still has a reader")
	}
	if at := r.Engine.State().Stream[ftpalg.Reply]; !at.Start || len(at.Line) > 0 {
		t.Errorf("the reply continues at %+v, want the start of the line", at)
	}
}

// TestOneVerdict: each packet of a dialogue that is cut, lost, retransmitted and
// reordered in any way gets one verdict, held ones when their time is over.
func TestOneVerdict(t *testing.T) {
	text := [2]string{
		"USER ada\r\nPASS secret\r\nPASV\r\nRETR file\r\nPORT 198,51,100,1,200,10\r\nSTOR file\r\nAUTH TLS\r\n",
		"220 ready\r\n331 password\r\n230 welcome\r\n227 Passive (10,0,0,2,195,80).\r\n150 go\r\n226 done\r\n200 PORT ok\r\n150 go\r\n226 done\r\n234 go\r\n",
	}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := newBench(t, nil)
		b.k.noAdjust = seed%3 == 0
		e := entryOf(1)
		if seed%2 == 0 {
			e = plainEntry(1)
		}
		l := b.connect(e)
		start := l.next
		var at [2]int
		for range 80 {
			from := r.IntN(2)
			at[from] = max(0, min(at[from]+r.IntN(30)-5, len(text[from])))
			end := min(at[from]+r.IntN(25), len(text[from]))
			l.next[from] = start[from] + uint32(at[from])
			l.next[1-from] = start[1-from] + uint32(at[1-from])
			b.handle(l.packet(from, text[from][at[from]:end], nfq.FlagACK))
		}
		b.w.Wake(time.Now().Add(time.Minute))
		for id := uint32(1); id <= b.ids; id++ {
			if n := len(b.q.verdicts[id]); n != 1 {
				t.Errorf("seed %d: packet %d has %d verdicts", seed, id, n)
			}
		}
	}
}

// TestNoAllocations: a packet that passes costs no memory. The ledger keeps a
// command until it is answered, and nothing after that.
func TestNoAllocations(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	b.w.verdicts.queue = deafQueue{}
	texts := [2]string{"NOOP\r\n", "200 fine\r\n"}
	var packets [2]*nfq.Packet
	for from := range packets {
		packets[from] = l.packet(from, texts[from], nfq.FlagACK)
	}
	allocs := testing.AllocsPerRun(200, func() {
		for from, p := range packets {
			p.Seq, p.Ack = l.next[from], l.next[1-from]
			b.w.Packet(p)
			l.next[from] += uint32(len(texts[from]))
		}
	})
	if allocs > 1 {
		t.Errorf("%v allocations for a command and its reply", allocs)
	}
}

// deafQueue discards its verdicts.
type deafQueue struct{ queue }

func (deafQueue) Accept(uint32) error      { return nil }
func (deafQueue) AcceptLater(uint32) error { return nil }
func (deafQueue) Flush() error             { return nil }

// TestEvents: what the engine finds in a dialogue, and what happens to the
// session.
func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name   string
		edit   func(*config.Config)
		lines  []string // of the client, and with "<" of the server
		left   succession.Left
		logged []string
	}{
		{"encrypted", nil, []string{"<220 ready", "AUTH TLS", "<234 go"}, succession.LeftEncrypted, []string{`msg="session is encrypted"`}},
		{"not FTP", nil, []string{"<SSH-2.0-OpenSSH", "SSH-2.0-Go", "PORT 198,51,100,1,200,10"}, succession.LeftForeign, []string{`msg="session is not FTP"`}},
		{"denied", func(c *config.Config) { c.DenyCommands = map[string]bool{"DELE": true} },
			[]string{"<220 ready", "USER ada", "<331 password", "PASS secret", "<230 welcome", "DELE file"}, succession.LeftNot, []string{`msg="command denied"`, "rule=DELE"}},
		{"refused", nil, []string{"<220 ready", "USER ada", "<331 password", "PASS secret", "<230 welcome", "PORT 198,51,100,1,0,22"},
			succession.LeftNot, []string{`msg="offer refused"`, "verb=PORT"}},
		{"login failed", nil, []string{"<220 ready", "USER ada", "<331 password", "PASS wrong", "<530 no"}, succession.LeftNot, []string{`msg="login failed"`, "user=ada"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.edit)
			l := b.connect(entryOf(1))
			for _, line := range tt.lines {
				from := client
				if strings.HasPrefix(line, "<") {
					from, line = server, line[1:]
				}
				l.say(from, line+"\r\n")
			}
			if got := l.session().Left(); got != tt.left || b.k.left[1] != tt.left.String() {
				t.Errorf("left %q, and the kernel has %q; want %q", got, b.k.left[1], tt.left)
			}
			b.logs(tt.logged...)
		})
	}
}

// TestCancelled: a refused PORT closes its pinhole.
func TestCancelled(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	l.say(client, "PORT 198,51,100,1,200,10\r\n")
	if len(b.k.expected) != 1 {
		t.Fatalf("expectations: %v", b.k.expected)
	}
	l.say(server, "500 no\r\n")
	if len(b.k.expected) != 0 || b.metrics.Pinholes.Closed.Load() != 1 {
		t.Errorf("expectations: %v", b.k.expected)
	}
}

// TestAdjustedHere: where the kernel does not adjust sequence numbers the worker
// does, in both directions, and records it for the next daemon.
func TestAdjustedHere(t *testing.T) {
	b := newBench(t, nil)
	b.k.noAdjust = true
	l := b.connect(entryOf(1))
	l.logIn()
	before := l.next
	if sent := l.passive(50000); !strings.Contains(sent, "203,0,113,1") {
		t.Fatalf("the client received %q", sent)
	}
	if !l.session().Here() || !b.k.liberal[l.entry.Original] || b.k.numbered[1] == "" {
		t.Error("they are not adjusted here")
	}
	p := l.packet(server, "226 done\r\n", nfq.FlagACK)
	b.handle(p)
	var sent nfq.Packet
	if err := nfq.ParsePacket(&sent, b.q.data[p.ID]); err != nil || sent.Seq != l.next[server]+3 {
		t.Errorf("the next line has the number %d, want %d; %v", sent.Seq-before[server], l.next[server]+3-before[server], err)
	}
	p = l.packet(client, "NOOP\r\n", nfq.FlagACK)
	p.Ack = l.next[server] + 3 // in its numbers
	p = packetOf(t, l.entry.Original, p.Seq, p.Ack, "NOOP\r\n", nfq.FlagACK)
	b.ids++
	p.ID = b.ids
	b.handle(p)
	if err := nfq.ParsePacket(&sent, b.q.data[p.ID]); err != nil || sent.Ack != l.next[server] {
		t.Errorf("the server has acknowledged %d, want %d; %v", sent.Ack-before[server], l.next[server]-before[server], err)
	}
}

// TestWithdrawn: where no one can adjust, the text stays and its pinhole is
// closed.
func TestWithdrawn(t *testing.T) {
	b := newBench(t, nil)
	b.k.noAdjust = true
	l := b.connect(entryOf(1))
	l.logIn()
	b.w.firewallRefuses(fmt.Errorf("no room"))
	sent := l.passive(50000)
	if !strings.Contains(sent, "10,0,0,2") || len(b.k.expected) != 0 {
		t.Errorf("the client received %q, expectations %v", sent, b.k.expected)
	}
	b.logs(`msg="cannot queue all packets of a session"`)
	b.logs(`msg="offer refused"`, "reason="+ftpalg.ReasonNoAdjust.String())
}

func (w *worker) firewallRefuses(err error) {
	w.firewall = &refusing{w.firewall.(*fakeKernel), err}
}

// refusing refuses to queue all packets of a session.
type refusing struct {
	*fakeKernel
	err error
}

func (r *refusing) Renumber(uint32, string) error { return r.err }

// TestInvalid: an invalid packet is reset if its connection was lost, and
// otherwise passes.
func TestInvalid(t *testing.T) {
	for _, tt := range []struct {
		name    string
		known   bool // there is an entry
		lost    bool // there was one
		zoned   bool
		hook    uint8
		expired bool
		resets  bool
		expect  string
		ttl     byte // of a packet that passes, if changed
	}{
		{"lost", false, true, false, nfq.HookForward, false, true, "repeat", 0},
		{"lost, without resets", false, true, false, nfq.HookInput, false, false, "drop", 0},
		{"lost, in a zone", false, true, true, nfq.HookInput, false, true, "accept", 0},
		{"lost, and there is one again", true, true, false, nfq.HookForward, false, true, "accept", 0},
		{"never seen", false, false, false, nfq.HookForward, false, true, "accept", 0},
		{"out of order", true, false, false, nfq.HookForward, false, true, "accept", 0},
		{"our own, lost", false, true, false, nfq.HookOutput, true, true, "repeat", 0},
		{"our own, out of order", true, false, false, nfq.HookOutput, true, true, "changed", 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, func(c *config.Config) { c.ResetStale = tt.resets })
			l := b.connect(entryOf(1))
			p := l.packet(client, "NOOP\r\n", nfq.FlagACK)
			if !tt.known {
				b.k.remove(l.entry)
			}
			if tt.lost {
				b.w.stale.memory.Add(lost.Connection{Original: l.entry.Original, Reply: l.entry.Reply}, time.Now())
			}
			if p.Hook = tt.hook; tt.expired {
				p.Data[8] = 0
			}
			b.zones.seen.Store(tt.zoned)
			if v, _ := b.handle(p); v != tt.expect {
				t.Errorf("%s, want %s", v, tt.expect)
			}
			if sent := b.q.data[p.ID]; sent != nil && sent[8] != tt.ttl {
				t.Errorf("time to live %d, want %d", sent[8], tt.ttl)
			}
		})
	}
}
