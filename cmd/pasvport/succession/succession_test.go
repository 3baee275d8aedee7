// SPDX-License-Identifier: Apache-2.0

package succession

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

var (
	now = time.Unix(1_700_000_000, 0)
	ap  = netip.MustParseAddrPort
)

// ends are the addresses of a session that is translated on both sides.
func ends() *ftpalg.Endpoints {
	return &ftpalg.Endpoints{Client: ap("10.0.0.2:4000"), Dialled: ap("203.0.113.1:21"), Server: ap("172.16.0.9:2121"), SeenAs: ap("172.16.0.1:4000")}
}

// record is a record with every field.
func record() Record {
	e, next := ends(), uint32(1<<32-1)
	return Record{
		Original: Tuple{e.Client, e.Dialled, 7}, Reply: Tuple{e.Server, e.SeenAs, 7},
		ID: 42, Left: LeftForeign, Engine: &ftpalg.State{Foreign: true},
		Adjusted: &[2]ftpalg.Adjustment{{Pos: 1, Before: -2, After: 3}, {Pos: 1<<32 - 1, Before: -1 << 31, After: 1<<31 - 1}},
		Next:     [2]*uint32{&next, nil},
		Pinholes: []Pinhole{passive(), {Active: true, Source: e.Server.Addr(), Public: ap("172.16.0.1:50000"), Target: ap("10.0.0.2:50000"),
			NAT: true, Port: 2120, Left: time.Second, Data: &Tuple{ap("172.16.0.9:2120"), ap("172.16.0.1:50000"), 7}}},
	}
}

func passive() Pinhole {
	e := ends()
	return Pinhole{Source: e.Client.Addr(), Public: ap("203.0.113.1:40000"), Target: ap("172.16.0.9:50000"), NAT: true, Left: time.Minute}
}

// TestFile: what is written can be read by its user, once.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "pasvport", "x.handover")
	want := Estate{Records: []Record{record(), {Original: record().Original, Reply: record().Reply, ID: 1}}, Drained: []string{"ftp/b"}}
	if err := Write(path, want, now); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	got, err := Read(path, now)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v\nwant %+v", got, err, want)
	}
	if got, err := Read(path, now); !reflect.DeepEqual(got, Estate{}) || err != nil {
		t.Errorf("read %+v, %v a second time", got, err)
	}
	if err := Write(path, Estate{}, now); err != nil {
		t.Error(err)
	}
	if err := Write(path, Estate{Drained: want.Drained}, now); err != nil {
		t.Error(err)
	}
	if got, err := Read(path, now); !reflect.DeepEqual(got, Estate{Drained: want.Drained}) || err != nil {
		t.Errorf("without a session: %+v, %v", got, err)
	}
	if left, err := filepath.Glob(filepath.Dir(path) + "/*"); len(left) > 0 || err != nil {
		t.Errorf("%v, %v is left", left, err)
	}
}

// TestAge: the remaining time of a pinhole passes while no daemon runs.
func TestAge(t *testing.T) {
	for later, want := range map[time.Duration]time.Duration{
		0: time.Minute, 20 * time.Second: 40 * time.Second, time.Hour: time.Minute - time.Hour,
		-time.Hour: time.Minute, // the clock was set back
	} {
		path := filepath.Join(t.TempDir(), "x")
		if err := Write(path, Estate{Records: []Record{record()}}, now); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path, now.Add(later))
		if err != nil || len(got.Records) != 1 || got.Records[0].Pinholes[0].Left != want {
			t.Errorf("%v later: %+v, %v, want %v", later, got, err, want)
		}
	}
}

// TestNotBelieved: a file that another user may have written, or that is
// incomplete, is not read.
func TestNotBelieved(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"readable by all": func(p string) error { return os.Chmod(p, 0o644) },
		"writable":        func(p string) error { return os.Chmod(p, 0o620) },
		"a symbolic link": func(p string) error { return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p)) },
		"two names":       func(p string) error { return os.Link(p, p+".real") },
		"a FIFO":          func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600)) },
		"a directory":     func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"half":            func(p string) error { return os.Truncate(p, 200) },
		"empty":           func(p string) error { return os.Truncate(p, 0) },
		"another version": func(p string) error {
			text, err := os.ReadFile(p)
			return errors.Join(err, os.WriteFile(p, bytes.Replace(text, []byte(`"Version":1`), []byte(`"Version":2`), 1), 0o600))
		},
		"another user's": func(p string) error {
			if os.Geteuid() != 0 {
				return os.Chmod(p, 0o666)
			}
			return os.Chown(p, 12345, -1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			if err := errors.Join(Write(path, Estate{Records: []Record{record()}}, now), spoil(path)); err != nil {
				t.Fatal(err)
			}
			if got, err := Read(path, now); !reflect.DeepEqual(got, Estate{}) || err == nil {
				t.Errorf("read %+v, %v", got, err)
			}
		})
	}
}

// TestUnknownFields: fields that a newer daemon adds to a record are skipped.
func TestUnknownFields(t *testing.T) {
	var b strings.Builder
	if err := encode(&b, Estate{Records: []Record{record()}}, now); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(b.String(), `"ID":`, `"Colour":{"red":[1,2]},"ID":`)
	got, err := decode(strings.NewReader(text), now)
	if err != nil || !reflect.DeepEqual(got.Records, []Record{record()}) {
		t.Errorf("read %+v, %v", got, err)
	}
}

// TestSize: a record of a session that is idle, and of one with a pinhole.
func TestSize(t *testing.T) {
	idle := record()
	idle.Left, idle.Engine, idle.Adjusted, idle.Pinholes = LeftNot, nil, nil, nil
	busy := idle
	busy.Pinholes = []Pinhole{passive()}
	for name, x := range map[string]struct {
		r    Record
		most int
	}{"idle": {idle, 220}, "with a pinhole": {busy, 400}} {
		var b strings.Builder
		if err := encode(&b, Estate{Records: []Record{x.r}}, now); err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(b.String(), "\n")
		if len(line) > x.most {
			t.Errorf("%s: %d bytes, want at most %d: %s", name, len(line), x.most, line)
		}
	}
}

func TestIs(t *testing.T) {
	r := record()
	o, p := expect.Tuple(r.Original), expect.Tuple(r.Reply)
	other := p
	other.Dst = ap("172.16.0.1:4001")
	for _, tt := range []struct {
		name            string
		id              uint32
		original, reply expect.Tuple
		want            bool
	}{
		{"itself", 42, o, p, true},
		{"another entry", 43, o, p, false},
		{"translated otherwise", 42, o, other, false},
		{"another connection", 42, p, o, false},
	} {
		if r.Is(tt.id, tt.original, tt.reply) != tt.want {
			t.Errorf("%s: want %v", tt.name, tt.want)
		}
	}
}

// TestJudge: what is refused in addition to ftpalg.Policy.Reopen.
func TestJudge(t *testing.T) {
	active := record().Pinholes[1]
	with := func(p Pinhole, f func(*Pinhole)) Pinhole {
		if p.Data != nil {
			data := *p.Data
			p.Data = &data
		}
		f(&p)
		return p
	}
	for _, tt := range []struct {
		name   string
		strict bool
		p      Pinhole
		ok     bool
		left   time.Duration
		port   uint16
	}{
		{"as it was", false, passive(), true, time.Minute, 0},
		{"for an hour", false, with(passive(), func(p *Pinhole) { p.Left = time.Hour }), true, 2 * time.Minute, 0},
		{"its time is over", false, with(passive(), func(p *Pinhole) { p.Left = 0 }), false, 0, 0},
		{"a third host's port 22", false, with(passive(), func(p *Pinhole) { p.Target = ap("172.16.0.8:22") }), false, 0, 0},
		{"the server's port 22", false, with(passive(), func(p *Pinhole) { p.Target = ap("172.16.0.9:22") }), false, 0, 0},
		{"a third client", false, with(passive(), func(p *Pinhole) { p.Source = netip.MustParseAddr("10.0.0.3") }), false, 0, 0},
		{"the mode is the other", false, with(passive(), func(p *Pinhole) { p.Active = true }), false, 0, 0},
		{"active, strict", true, active, true, time.Second, 2120},
		{"active, not strict any more", false, active, true, time.Second, 2120},
		{"active, strict from now on", true, with(active, func(p *Pinhole) { p.Port = 0 }), true, time.Second, 2120},
		{"active, from another port", true, with(active, func(p *Pinhole) { p.Port = 2121 }), false, 0, 0},
		{"data from a third host", true, with(active, func(p *Pinhole) { p.Data.Src = ap("172.16.0.8:2120") }), false, 0, 0},
		{"data from another port", true, with(active, func(p *Pinhole) { p.Data.Src = ap("172.16.0.9:22") }), false, 0, 0},
		{"data to a third host", true, with(active, func(p *Pinhole) { p.Data.Dst = ap("172.16.0.1:22") }), false, 0, 0},
		{"data in another zone", true, with(active, func(p *Pinhole) { p.Data.Zone = 0 }), false, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			terms := Terms{Ends: ends(), Zone: 7, Policy: &ftpalg.Policy{}, StrictActivePort: tt.strict, Timeout: 2 * time.Minute}
			got, err := terms.Judge(tt.p)
			if (err == nil) != tt.ok {
				t.Fatalf("%v, want it opened: %v", err, tt.ok)
			}
			if tt.ok && (got.Left != tt.left || got.Port != tt.port) {
				t.Errorf("for %v, from port %d, want %v and %d", got.Left, got.Port, tt.left, tt.port)
			}
		})
	}
}

// FuzzFile: whatever a file contains, it opens only what an offer between the two
// ends may open, and what was read can be written.
func FuzzFile(f *testing.F) {
	var b bytes.Buffer
	if err := encode(&b, Estate{Records: []Record{record()}}, now); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(bytes.ReplaceAll(b.Bytes(), []byte("172.16.0.9:50000"), []byte("172.16.0.8:22")))
	f.Add(b.Bytes()[:b.Len()/2])
	f.Fuzz(func(t *testing.T, text []byte) {
		left, err := decode(bytes.NewReader(text), now)
		if err != nil {
			if left.Records != nil {
				t.Errorf("%d records of a bad file", len(left.Records))
			}
			return
		}
		e := ends()
		records := left.Records
		terms := Terms{Ends: e, Zone: 7, Policy: &ftpalg.Policy{}, Timeout: time.Minute}
		for i := range records {
			for _, p := range records[i].Pinholes {
				p, err := terms.Judge(p)
				if err != nil {
					continue
				}
				source, public, target := e.Client.Addr(), e.Dialled.Addr(), e.Server.Addr()
				if p.Active {
					source, public, target = e.Server.Addr(), e.SeenAs.Addr(), e.Client.Addr()
				}
				if p.Source != source || p.Public.Addr() != public || p.Target.Addr() != target ||
					p.Target.Port() < 1024 || p.Public.Port() < 1024 || p.Left > time.Minute || !p.NAT {
					t.Errorf("would open %+v", p)
				}
			}
		}
		var again bytes.Buffer
		if err := encode(&again, left, now); err != nil {
			t.Fatal(err)
		}
		same, err := decode(&again, now)
		if err != nil || len(same.Records) != len(records) {
			t.Errorf("%d records read, written and read: %d, %v", len(records), len(same.Records), err)
		}
	})
}

// TestLeft: an unknown reason leaves alone, and opens nothing.
func TestLeft(t *testing.T) {
	for word, want := range map[string]Left{
		"": LeftNot, "encrypted": LeftEncrypted, "not-ftp": LeftForeign, "left-alone": LeftAlone, "Encrypted": LeftAlone, "encrypted ": LeftAlone,
	} {
		if got := ParseLeft(word); got != want {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
	for l := range Left(8) {
		if got := ParseLeft(l.String()); got != min(l, LeftAlone) {
			t.Errorf("%d: %q is read as %d", l, l, got)
		}
	}
}

// TestJudgeWay: where payload may go in one direction only, no pinhole is opened
// for both, nor with an invalid way.
func TestJudgeWay(t *testing.T) {
	for _, tt := range []struct {
		oneWay bool
		way    rules.Way
		want   rules.Way
	}{
		{false, rules.WayAny, rules.WayAny}, {false, rules.WayReply, rules.WayReply}, {false, 77, rules.WayUndecided},
		{true, rules.WayAny, rules.WayUndecided}, {true, rules.WayOriginal, rules.WayOriginal}, {true, rules.WayReply, rules.WayReply},
		{true, 77, rules.WayUndecided},
	} {
		terms := Terms{Ends: ends(), Zone: 7, Policy: &ftpalg.Policy{OneWay: tt.oneWay}, Timeout: time.Minute}
		p := passive()
		p.Way = tt.way
		if got, err := terms.Judge(p); err != nil || got.Way != tt.want {
			t.Errorf("one way %t: %d becomes %d, %v, want %d", tt.oneWay, tt.way, got.Way, err, tt.want)
		}
	}
}
