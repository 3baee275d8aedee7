// SPDX-License-Identifier: Apache-2.0

package account

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// bench is a session whose dialogue an engine reads, with its account.
type bench struct {
	*Accounts
	t       *testing.T
	log     bytes.Buffer
	r       *session.Reader
	seq     [2]uint32
	entries map[expect.Tuple]expect.Entry
	syncs   int
	now     time.Time
}

func (b *bench) Get(t expect.Tuple) (expect.Entry, error) {
	if e, ok := b.entries[t]; ok {
		return e, nil
	}
	return expect.Entry{}, unix.ENOENT
}

func (b *bench) Sync() bool {
	b.syncs++
	return true
}

var (
	client = netip.MustParseAddrPort("198.51.100.1:40000")
	server = netip.MustParseAddrPort("203.0.113.1:21")
	data   = expect.Tuple{Src: netip.MustParseAddrPort("198.51.100.1:41000"), Dst: netip.MustParseAddrPort("203.0.113.1:50000")}
)

func newBench(t *testing.T) *bench {
	b := &bench{t: t, entries: map[expect.Tuple]expect.Entry{}, now: time.Now()}
	log := slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	reporter := &report.Reporter{Log: log}
	b.Accounts = &Accounts{
		Report: reporter, Metrics: metrics.New(report.Reasons()), Data: &pinhole.NewTable(nil, reporter).Data,
		Wanted: func() (sessions, transfers bool) { return true, true },
	}
	e := &expect.Entry{ID: 1, Original: expect.Tuple{Src: client, Dst: server}, Reply: expect.Tuple{Src: server, Dst: client}, TCPState: expect.TCPStateEstablished}
	b.r = session.New(e, &ftpalg.Policy{}, b.now, true, nil)
	return b
}

// say sends lines from an end; those of the server begin with "<".
func (b *bench) say(lines ...string) {
	for _, line := range lines {
		d := ftpalg.Original
		if strings.HasPrefix(line, "<") {
			d, line = ftpalg.Reply, line[1:]
		}
		line += "\r\n"
		seg := ftpalg.Segment{Time: b.now, Dir: d, Seq: b.seq[d], Payload: []byte(line)}
		b.Read(b, b, b.r.Session, d, b.r.Engine.Segment(&seg).Lines, b.now)
		b.r.Engine.Rewrite(nil, &seg)
		b.seq[d] += uint32(len(line))
	}
}

func (b *bench) has(words ...string) bool {
	for line := range strings.Lines(b.log.String()) {
		n := 0
		for _, w := range words {
			if strings.Contains(line, w) {
				n++
			}
		}
		if n == len(words) {
			return true
		}
	}
	return false
}

func (b *bench) logs(words ...string) {
	b.t.Helper()
	if !b.has(words...) {
		b.t.Errorf("no line has %q:\n%s", words, b.log.String())
	}
}

func (b *bench) logIn() {
	b.say("<220 ready", "USER ada", "<331 password", "PASS secret", "<230 welcome")
}

// retrieve logs in and begins a download, whose data connection is there.
func (b *bench) retrieve() {
	b.logIn()
	b.say("RETR file", "<150 go")
	b.Data.Found(data, &b.r.Owner)
}

// carry makes a data connection carry bytes to the client.
func (b *bench) carry(down uint64, state uint8) {
	b.entries[data] = expect.Entry{
		Original: data, Reply: data.Reverse(), TCPState: state, HasCounters: true,
		Packets: [2]uint64{3, 4}, Bytes: [2]uint64{52 + 2*40, 52 + 3*40 + down},
	}
}

// TestLogins: both outcomes are reported and counted.
func TestLogins(t *testing.T) {
	b := newBench(t)
	failed := 0
	b.LoginFailed = func(s *session.Session, _ time.Time) {
		if s == b.r.Session {
			failed++
		}
	}
	b.say("<220 ready", "USER eve", "<331 password", "PASS wrong", "<530 no")
	b.logIn()
	b.logs(`msg="login failed"`, "user=eve")
	b.logs("msg=login ", "user=ada")
	if failed != 1 || b.Metrics.LoginFailures.Load() != 1 {
		t.Errorf("%d logins failed", failed)
	}
}

// TestTransfer: a transfer is reported once, with what its data connection
// carried, whichever of the two ends first.
func TestTransfer(t *testing.T) {
	for _, last := range []string{"the data connection", "the reply"} {
		t.Run(last, func(t *testing.T) {
			b := newBench(t)
			b.retrieve()
			if last == "the reply" {
				b.carry(1000, expect.TCPStateTimeWait)
				b.DataClosed(b, data, nil)
				b.say("<226 done")
			} else {
				b.carry(400, expect.TCPStateEstablished)
				b.say("<226 done")
				if b.has("msg=transfer ") {
					t.Error("it is reported before its last byte")
				}
				b.carry(1000, expect.TCPStateTimeWait)
				b.DataClosed(b, data, nil)
			}
			b.logs("msg=transfer ", "level=INFO", "user=ada", "verb=RETR", "path=file", "bytes=1000", "code=226", "complete=true", "from=198.51.100.1:41000")
			if n := strings.Count(b.log.String(), "msg=transfer "); n != 1 || b.syncs == 0 {
				t.Errorf("reported %d times, events waited for %d times", n, b.syncs)
			}
		})
	}
}

// TestNoDataConnection: a transfer that fails without one is reported at once.
func TestNoDataConnection(t *testing.T) {
	b := newBench(t)
	b.logIn()
	b.say("STOR file", "<550 no")
	b.logs("msg=transfer ", "level=WARN", "direction=upload", "code=550", "complete=false")
}

// TestOverdue: a data connection that is not closed does not delay a transfer
// forever.
func TestOverdue(t *testing.T) {
	b := newBench(t)
	b.retrieve()
	b.carry(10, expect.TCPStateEstablished)
	b.say("<226 done")
	if b.Overdue(b, b.now); b.has("msg=transfer ") {
		t.Error("it is overdue at once")
	}
	b.Overdue(b, b.now.Add(time.Hour))
	b.logs("msg=transfer ", "bytes=10")
}

// TestEncryptedTransfer: of an encrypted session only the data connection is
// known.
func TestEncryptedTransfer(t *testing.T) {
	for _, left := range []succession.Left{succession.LeftEncrypted, succession.LeftForeign} {
		b := newBench(t)
		b.r.Leave(left, b.now)
		b.Data.Found(data, &b.r.Owner)
		b.carry(500, expect.TCPStateTimeWait)
		b.DataClosed(b, data, func(t expect.Tuple) *session.Session {
			if t == b.r.Original() {
				return b.r.Session
			}
			return nil
		})
		if got := b.has("msg=transfer ", "encrypted=true", "bytes=500", "direction=download"); got != (left == succession.LeftEncrypted) {
			t.Errorf("%v: reported %v", left, got)
		}
	}
}

// TestSession: begin and end of a session, and what it did.
func TestSession(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		state uint8
		want  []string
	}{
		{"quit", []string{"QUIT"}, expect.TCPStateTimeWait, []string{"cause=quit"}},
		{"closed", nil, expect.TCPStateTimeWait, []string{"cause=closed", "login=accepted"}},
		{"reset", nil, expect.TCPStateClose, []string{"cause=reset"}},
		{"lost", nil, expect.TCPStateNone, []string{`cause="lost by conntrack"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.Began(b.r.Session, "sane")
			b.logs(`msg="session began"`, "helper=sane")
			b.logIn()
			b.say("RETR file", "<150 go")
			b.say(tt.lines...)
			for range 2 {
				b.Ended(b, b.r.Session, tt.state, b.now.Add(time.Second))
			}
			b.logs(append(tt.want, `msg="session ended"`, "user=ada", "seconds=1")...)
			b.logs("msg=transfer ", "path=file", "complete=false") // unfinished
			if n := strings.Count(b.log.String(), "session ended"); n != 1 {
				t.Errorf("it ended %d times", n)
			}
		})
	}
}

// TestSessionSums: the sums of a session have what its data connections carried,
// closed or still open, whether or not transfers are logged.
func TestSessionSums(t *testing.T) {
	for _, transfers := range []bool{false, true} {
		for _, open := range []bool{false, true} {
			b := newBench(t)
			b.Wanted = func() (bool, bool) { return true, transfers }
			b.retrieve()
			b.carry(700, expect.TCPStateEstablished)
			if !open {
				b.carry(1000, expect.TCPStateTimeWait)
				b.DataClosed(b, data, nil)
				b.say("<226 done")
			}
			b.Ended(b, b.r.Session, expect.TCPStateTimeWait, b.now)
			want := "bytes_down=1000"
			if open {
				want = "bytes_down=700"
			}
			b.logs(`msg="session ended"`, want)
		}
	}
}

// TestUnfinished: a transfer whose session ended before its final reply is
// reported with what its data connection has carried when that is closed.
func TestUnfinished(t *testing.T) {
	b := newBench(t)
	b.retrieve()
	b.carry(700, expect.TCPStateEstablished)
	b.Ended(b, b.r.Session, expect.TCPStateClose, b.now)
	if b.has("msg=transfer ") {
		t.Error("it is reported before its last byte")
	}
	b.carry(1000, expect.TCPStateTimeWait)
	b.DataClosed(b, data, nil)
	b.logs("msg=transfer ", "level=WARN", "path=file", "bytes=1000", "from=198.51.100.1:41000", "code=0", "complete=false")
	if n := strings.Count(b.log.String(), "msg=transfer "); n != 1 {
		t.Errorf("reported %d times", n)
	}
}

// TestXferlog: transferred files are in the xferlog, even if nothing is logged; a
// file that was moved away is begun anew.
func TestXferlog(t *testing.T) {
	b := newBench(t)
	b.Wanted = func() (sessions, transfers bool) { return false, false }
	path := filepath.Join(t.TempDir(), "xferlog")
	if err := b.Open(path); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	b.logIn()
	b.say("RETR file", "<150 go", "<226 done", "LIST", "<150 go", "<226 done")
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), " 198.51.100.1 ") || !strings.Contains(string(text), "ada") {
		t.Errorf("%v: %q", err, text)
	}
	b.Reopen()
	if b.has("login") || b.has("transfer") {
		t.Error("something is logged")
	}
	if err := new(Accounts).Run(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.Open(t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "--xferlog: ") {
		t.Errorf("a folder is opened: %v", err)
	}
}

// TestCountAll: conntrack's figures of data connections are added up once.
func TestCountAll(t *testing.T) {
	b := newBench(t)
	b.Data.Found(data, &b.r.Owner)
	for _, n := range []uint64{100, 100, 300} {
		b.carry(n, expect.TCPStateEstablished)
		b.CountAll(b)
	}
	if got := b.Data.Traffic(&b.r.Owner).Payload; got.Download != 300 || got.Upload != 0 {
		t.Errorf("carried: %+v", got)
	}
}
