// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// play feeds a dialogue, one line each: "> " the client's, "< " the server's. A
// second passes with each. It returns what the replies completed, one word each.
func play(l *Ledger, dialogue string) (events []string, transfers []Transfer) {
	now := time.Unix(1000, 0)
	for line := range strings.Lines(dialogue) {
		line = strings.TrimSuffix(strings.TrimLeft(line, "\t"), "\n")
		now = now.Add(time.Second)
		switch {
		case strings.HasPrefix(line, "> "):
			l.Command([]byte(line[2:]), false, now)
		case strings.HasPrefix(line, "< "):
			e := l.Reply([]byte(line[2:]), now)
			switch e {
			case EventLogin:
				events = append(events, "login "+l.User())
			case EventLoginFailed:
				events = append(events, fmt.Sprintf("failed %s %d", l.User(), l.Failures()))
			case EventTransferBegan:
				events = append(events, "began "+l.Transfer().Path)
			case EventTransferEnded:
				events = append(events, fmt.Sprintf("ended %s %d", l.Transfer().Path, l.Transfer().Code))
				transfers = append(transfers, *l.Transfer())
			}
		}
	}
	return events, transfers
}

const login = `
	< 220 ready
	> USER alice
	< 331 password
	> PASS secret
	< 230 in
`

func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name, dialogue string
		want           []string
	}{
		{"login", login, []string{"login alice"}},
		{"no password asked", "> USER ftp\n< 230 in", []string{"login ftp"}},
		{"account asked", "> USER a\n< 331 p\n> PASS x\n< 332 account\n> ACCT y\n< 230 in", []string{"login a"}},
		{"refused twice", "> USER a\n< 331 p\n> PASS x\n< 530 no\n> USER b\n< 530 no\n> USER b\n< 331 p\n> PASS y\n< 230 in",
			[]string{"failed a 1", "failed b 2", "login b"}},
		{"several lines", "> USER a\n< 331 p\n> PASS x\n< 230-welcome\n< 230 is not\n< 226 the end", []string{"login a"}},
		{"lines that look like replies", "> USER a\n< 331 p\n> PASS x\n< 230-welcome\n< 530 not yours\n< 230 in", []string{"login a"}},
		{"download", login + "> RETR f\n< 150 here\n< 226 done", []string{"login alice", "began f", "ended f 226"}},
		{"not found", login + "> RETR f\n< 550 no", []string{"login alice", "ended f 550"}},
		{"aborted", login + "> STOR f\n< 150 go\n> ABOR\n< 426 aborted\n< 226 done\n> NOOP\n< 200 ok",
			[]string{"login alice", "began f", "ended f 426"}},
		{"STAT meanwhile", login + "> RETR f\n< 150 go\n> STAT\n< 211 half\n< 226 done", []string{"login alice", "began f", "ended f 226"}},
		{"NOOP meanwhile, answered behind", login + "> RETR f\n< 150 go\n> NOOP\n< 226 done\n< 200 ok", []string{"login alice", "began f", "ended f 226"}},
		{"sent ahead", login + "> TYPE I\n> PASV\n> RETR f\n> QUIT\n< 200 I\n< 227 x (1,2,3,4,5,6)\n< 150 go\n< 226 done\n< 221 bye",
			[]string{"login alice", "began f", "ended f 226"}},
		{"two in turn", login + "> RETR f\n> RETR g\n< 150 f\n< 226 f\n< 150 g\n< 226 g",
			[]string{"login alice", "began f", "ended f 226", "began g", "ended g 226"}},
		{"a greeting answers nothing", "< 120 wait\n< 220 ready\n> RETR f\n< 530 log in", []string{"ended f 530"}},
		{"150 twice", login + "> RETR f\n< 125 open\n< 150 go\n< 226 done", []string{"login alice", "began f", "ended f 226"}},
		{"preliminary to no transfer", login + "> SITE x\n< 150 wait\n< 200 ok", []string{"login alice"}},
		{"not a reply", login + "< hello\n< 99 x\n< 1", []string{"login alice"}},
		{"unique name", login + "> STOU\n< 150 FILE: f.1\n< 226 done", []string{"login alice", "began f.1", "ended f.1 226"}},
		{"lower case", "> user a\n< 230 in\n> retr f\n< 150 x\n< 250 done", []string{"login a", "began f", "ended f 250"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l Ledger
			got, _ := play(&l, tt.dialogue)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if len(l.pending) != 0 || l.more != 0 {
				t.Errorf("%d commands are pending", len(l.pending)+l.more)
			}
		})
	}
}

func TestTransfers(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	for _, tt := range []struct {
		name, dialogue string
		want           Transfer
	}{
		{"plain", "> RETR f\n< 150 go\n< 226 done", Transfer{Verb: "RETR", Path: "f", ASCII: true, Asked: at(1), Began: at(2), Ended: at(3), Code: 226, Reply: "226 done"}},
		{"binary", "> TYPE I\n< 200 I\n> STOR f\n< 150 go\n< 226 done",
			Transfer{Verb: "STOR", Path: "f", Upload: true, Asked: at(3), Began: at(4), Ended: at(5), Code: 226, Reply: "226 done"}},
		{"type refused", "> TYPE I\n< 504 no\n> RETR f\n< 550 no", Transfer{Verb: "RETR", Path: "f", ASCII: true, Asked: at(3), Ended: at(4), Code: 550, Reply: "550 no"}},
		{"resumed", "> REST 42\n< 350 ok\n> PASV\n< 227 x\n> RETR f\n< 150 go\n< 226 done",
			Transfer{Verb: "RETR", Path: "f", ASCII: true, Offset: 42, Asked: at(5), Began: at(6), Ended: at(7), Code: 226, Reply: "226 done"}},
		{"resumed another", "> REST 42\n< 350 ok\n> RETR e\n< 550 no\n> RETR f\n< 550 no",
			Transfer{Verb: "RETR", Path: "f", ASCII: true, Asked: at(5), Ended: at(6), Code: 550, Reply: "550 no"}},
		{"resume refused", "> REST 42\n< 502 no\n> RETR f\n< 550 no", Transfer{Verb: "RETR", Path: "f", ASCII: true, Asked: at(3), Ended: at(4), Code: 550, Reply: "550 no"}},
		{"list with options", "> PWD\n< 257 \"/d\"\n> LIST -la sub dir\n< 550 no",
			Transfer{Verb: "LIST", Path: "sub dir", Absolute: "/d/sub dir", List: true, ASCII: true, Asked: at(3), Ended: at(4), Code: 550, Reply: "550 no"}},
		{"blanks in the name", "> RETR  a b \n< 550 no", Transfer{Verb: "RETR", Path: " a b ", ASCII: true, Asked: at(1), Ended: at(2), Code: 550, Reply: "550 no"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l Ledger
			_, got := play(&l, tt.dialogue)
			if len(got) == 0 {
				t.Fatal("no transfer")
			}
			if diff := cmp.Diff(tt.want, got[len(got)-1], cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A path is called absolute only if the server has said enough.
func TestAbsolute(t *testing.T) {
	for _, tt := range []struct{ name, dialogue, want string }{
		{"absolute", "", "/f"},
		{"PWD", "> PWD\n< 257 \"/home/a\" is it\n> RETR f\n< 550 x", "/home/a/f"},
		{"quotes", "> PWD\n< 257 \"/a \"\"b\"\"\"\n> RETR f\n< 550 x", `/a "b"/f`},
		{"PWD unreadable", "> PWD\n< 257 /home\n> RETR f\n< 550 x", ""},
		{"PWD not absolute", "> PWD\n< 257 \"A:\"\n> RETR f\n< 550 x", ""},
		{"PWD not ended", "> PWD\n< 257 \"/a\n> RETR f\n< 550 x", ""},
		{"CWD", "> CWD /a/b\n< 250 ok\n> CWD c\n< 250 ok\n> RETR f\n< 550 x", "/a/b/c/f"},
		{"CWD refused", "> CWD /a\n< 250 ok\n> CWD b\n< 550 no\n> RETR f\n< 550 x", "/a/f"},
		{"CWD from nowhere", "> CWD b\n< 250 ok\n> RETR f\n< 550 x", ""},
		{"up", "> CWD /a/b\n< 250 ok\n> CDUP\n< 250 ok\n> RETR f\n< 550 x", ""},
		{"up by dots", "> CWD /a/b\n< 250 ok\n> CWD ../c\n< 250 ok\n> RETR f\n< 550 x", ""},
		{"home", "> PWD\n< 257 \"/\"\n> CWD ~bob\n< 250 ok\n> RETR f\n< 550 x", ""},
		{"another user", "> CWD /a\n< 250 ok\n> USER b\n< 331 p\n> PASS x\n< 230 in\n> RETR f\n< 550 x", ""},
		{"sent ahead", "> CWD /a\n> RETR f\n< 250 ok\n< 550 x", "/a/f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.dialogue == "" {
				tt.dialogue = "> RETR /f\n< 550 x"
			}
			var l Ledger
			_, got := play(&l, tt.dialogue)
			if len(got) != 1 || got[0].Absolute != tt.want {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

// Nothing of a password is kept, wherever it is.
func TestPassword(t *testing.T) {
	var l Ledger
	l.Command([]byte("USER a"), false, time.Time{})
	l.Command([]byte("PASS hunter2"), false, time.Time{})
	l.Command([]byte("ACCT hunter2"), false, time.Time{})
	l.Command([]byte("PASShunter2"), false, time.Time{}) // a client's fault, cut to eight letters at most
	if text := fmt.Sprintf("%+v %v", l, l.Recent()); strings.Contains(strings.ToLower(text), "hunt") {
		t.Error("the password is kept: " + text)
	}
}

// A client that pipelines endlessly costs no memory, and the account is right
// again once it has its answers.
func TestSentAhead(t *testing.T) {
	var l Ledger
	const n = 10 * maxPending
	for range n {
		l.Command([]byte("NOOP"), false, time.Time{})
	}
	l.Command([]byte("RETR lost"), false, time.Time{})
	if len(l.pending) > maxPending {
		t.Errorf("%d commands are kept", len(l.pending))
	}
	for range n + 1 {
		l.Reply([]byte("200 ok"), time.Time{})
	}
	if got, _ := play(&l, "> RETR f\n< 150 go\n< 226 done"); !cmp.Equal(got, []string{"began f", "ended f 226"}) {
		t.Errorf("afterwards: %q", got)
	}
}

// A server that accepts every directory does not make the path grow forever.
func TestLongPath(t *testing.T) {
	var l Ledger
	step := "> CWD " + strings.Repeat("d", maxText) + "\n< 250 ok\n"
	play(&l, "> CWD /\n< 250 ok\n"+strings.Repeat(step, 10))
	if len(l.dir) > maxPath {
		t.Errorf("a directory of %d bytes", len(l.dir))
	}
}

func TestRecent(t *testing.T) {
	var l Ledger
	if l.Last() != (Verb{}) || l.Recent() != nil {
		t.Error("commands before the first one")
	}
	for _, c := range strings.Fields("USER PASS PWD TYPE PASV RETR PASV RETR quit") {
		l.Command([]byte(c), false, time.Time{})
	}
	if got := fmt.Sprint(l.Recent()); got != "[PASS PWD TYPE PASV RETR PASV RETR QUIT]" || l.Last().String() != "QUIT" {
		t.Error(got, l.Last())
	}
}

func TestXferlog(t *testing.T) {
	end := time.Date(2026, 3, 4, 8, 12, 30, 0, time.UTC)
	client := netip.MustParseAddr("192.0.2.1")
	for _, tt := range []struct {
		name, user string
		in         Transfer
		want       string
	}{
		{"download", "alice", Transfer{Path: "a b\n.bin", Absolute: "/d/a b\n.bin", Began: end.Add(-2 * time.Second), Ended: end, Bytes: 1 << 20, Code: 226},
			"Wed Mar  4 08:12:30 2026 2 192.0.2.1 1048576 /d/a_b?.bin b _ o r alice ftp 0 * c\n"},
		{"upload cut off", "anonymous", Transfer{Path: "\xff\xfe", ASCII: true, Upload: true, Ended: end, Code: 426},
			"Wed Mar  4 08:12:30 2026 1 192.0.2.1 0 ?? a _ i a anonymous ftp 0 * i\n"},
		{"no user", "", Transfer{Path: "ü", Ended: end, Code: 226}, "Wed Mar  4 08:12:30 2026 1 192.0.2.1 0 ü b _ o r * ftp 0 * c\n"},
	} {
		if got := string(AppendXferlog(nil, client, tt.user, &tt.in)); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// FuzzLedger: no dialogue makes it keep more than it may.
func FuzzLedger(f *testing.F) {
	f.Add(login + "> RETR f\n< 150 x\n< 226 y\n> CWD ~/../x\n< 250-\n< 250 x\n")
	f.Fuzz(func(t *testing.T, dialogue string) {
		var l Ledger
		play(&l, dialogue)
		if len(l.pending) > maxPending || len(l.User()) > maxUser || len(l.dir) > maxPath {
			t.Errorf("%d pending, user of %d, directory of %d bytes", len(l.pending), len(l.User()), len(l.dir))
		}
	})
}

// A transfer leaves the book once: when its data connection is closed, or when it
// has waited long enough.
func TestBook(t *testing.T) {
	var b Book[int, string]
	now := time.Unix(1000, 0)
	if _, ok := b.Closed(1); ok || b.Due(now) != nil {
		t.Error("an empty book has transfers")
	}
	b.Add(1, "one", now)
	b.Add(2, "two", now.Add(time.Second))
	if r, ok := b.Closed(1); !ok || r != "one" {
		t.Errorf("closed: %q, %t", r, ok)
	}
	if _, ok := b.Closed(1); ok {
		t.Error("closed twice")
	}
	if due := b.Due(now.Add(patience)); due != nil {
		t.Errorf("too early: %v", due)
	}
	if due := b.Due(now.Add(patience + time.Second)); len(due) != 1 || due[2] != "two" {
		t.Errorf("due: %v", due)
	}
}

// TestFile: lines go to the file at the path, even after it was moved away, and
// lost lines are reported.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "xferlog")
	lost := make(chan int, 10)
	l, err := OpenFile(path, func(_ error, n int) { lost <- n })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	content := func(path, want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			got, _ := os.ReadFile(path)
			if string(got) == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s holds %q, want %q", path, got, want)
			}
		}
	}
	l.Add([]byte("one\n"))
	content(path, "one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Add([]byte("two\n"))
	content(path+".1", "one\ntwo\n")
	l.Reopen()
	l.Add([]byte("three\n"))
	content(path, "three\n")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	l.Add([]byte("four\nfive\n"))
	for n := 0; n < 2; n += <-lost {
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.Add([]byte("six\n"))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	content(path, "six\n")
	if _, err := OpenFile(filepath.Join(dir, "none", "xferlog"), nil); err == nil {
		t.Error("a missing directory was accepted")
	}
}

// What a slow disk does not accept is counted, not kept.
func TestFileFull(t *testing.T) {
	l := &File{wake: make(chan struct{}, 1)}
	line := make([]byte, 1000)
	for range 2 * maxWaiting / len(line) {
		l.Add(line)
	}
	if len(l.waiting) > maxWaiting || l.lost == 0 {
		t.Errorf("%d bytes wait, %d lines lost", len(l.waiting), l.lost)
	}
}

// TestFilePipe: a named pipe without a reader is refused, and a reader that stops
// reading loses lines; it stops nothing.
func TestFilePipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path, nil); !errors.Is(err, unix.ENXIO) {
		t.Errorf("without a reader: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	lost := 0
	l, err := OpenFile(path, func(err error, n int) { lost += n })
	if err != nil {
		t.Fatal(err)
	}
	line := append(make([]byte, 999), '\n')
	for range maxWaiting / len(line) { // more than a pipe holds
		l.Add(line)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil || lost == 0 {
		t.Errorf("%v, %d lines lost", err, lost)
	}
}

// TestXferlogIsRead: Webalizer, which reads the logs of FTP servers, reads ours.
func TestXferlogIsRead(t *testing.T) {
	webalizer, err := exec.LookPath("webalizer")
	if err != nil {
		t.Skip("webalizer is not installed")
	}
	dir := t.TempDir()
	var text []byte
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	for i, name := range []string{"/pub/a.iso", "/pub/with blank.txt", "/pub/\xff\x1b.bin"} {
		text = AppendXferlog(text, netip.MustParseAddr("192.0.2.7"), "alice", &Transfer{
			Verb: "RETR", Path: name, Absolute: name, Asked: at, Began: at, Ended: at.Add(time.Duration(i+1) * time.Second),
			Bytes: 1 << 20, Counts: true, Code: 226,
		})
	}
	file := filepath.Join(dir, "xferlog")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(webalizer, "-F", "ftp", "-o", dir, "-n", "host", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "3 records") || strings.Contains(string(out), "ignored") || strings.Contains(string(out), "bad") {
		t.Fatalf("%v: %s\n%s", err, out, text)
	}
	page, err := os.ReadFile(filepath.Join(dir, "usage_202603.html"))
	if err != nil || !strings.Contains(string(page), "/pub/a.iso") || !strings.Contains(string(page), "3072") {
		t.Errorf("%v\n%s", err, page)
	}
}

// TestLoginMadeToFail: the server has seen no login, so none was refused.
func TestLoginMadeToFail(t *testing.T) {
	var l Ledger
	for _, failed := range []bool{true, false} {
		l.Command([]byte("USER a"), failed, time.Time{})
		e := l.Reply([]byte("500 unknown command"), time.Time{})
		if (e == EventLoginFailed) == failed || (l.Failures() == 0) != failed {
			t.Errorf("made to fail: %t: event %d, %d failures", failed, e, l.Failures())
		}
	}
}
