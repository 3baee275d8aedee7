// SPDX-License-Identifier: Apache-2.0

package succession

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipes are descriptors that stand for queues, and their other ends.
func pipes(t *testing.T, nums ...uint16) (q Queues, ends map[uint16]int) {
	t.Helper()
	q, ends = Queues{}, map[uint16]int{}
	for _, num := range nums {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		ends[num], q[num] = p[0], p[1]
		t.Cleanup(func() { unix.Close(p[0]) })
	}
	return q, ends
}

// mustBe writes to the queues, and checks that their other ends receive it.
func (q Queues) mustBe(t *testing.T, ends map[uint16]int) {
	t.Helper()
	if len(q) != len(ends) {
		t.Errorf("%d queues, want %d", len(q), len(ends))
	}
	for num, fd := range q {
		if _, err := unix.Write(fd, []byte{byte(num)}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2)
		if n, err := unix.Read(ends[num], b); n != 1 || b[0] != byte(num) || err != nil {
			t.Errorf("queue %d is another one: %v, %v", num, b[:max(n, 0)], err)
		}
	}
}

// TestPass: the successor gets the queues when the previous daemon has ended.
func TestPass(t *testing.T) {
	t.Run("short", func(t *testing.T) { passes(t, t.TempDir()) })
	t.Run("long", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), strings.Repeat("d", 2*maxAddress))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		passes(t, dir)
	})
}

func passes(t *testing.T, dir string) {
	path := filepath.Join(dir, "x")
	if q, err := Fetch(path, time.Minute); q != nil || err != nil {
		t.Errorf("%v, %v of no daemon", q, err)
	}
	q, ends := pipes(t, 7, 8, 65535)
	ended, waits := make(chan struct{}), make(chan struct{})
	go func() {
		conn, err := Pass(path, q, time.Minute, func() { close(waits) })
		if err != nil {
			t.Error(err)
			return
		}
		q.Close()
		close(ended)
		conn.Close()
	}()
	<-waits
	got, err := Fetch(path, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	select {
	case <-ended:
	default:
		t.Error("the previous daemon has not ended")
	}
	got.mustBe(t, ends)
}

// TestPassSeen: a process that sees the socket can connect to it, and is not
// refused.
func TestPassSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for range 300 {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			conn, err := Pass(path, Queues{}, time.Minute, func() {})
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		}()
		var err error
		for err = os.ErrNotExist; errors.Is(err, os.ErrNotExist); {
			_, err = os.Stat(path)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		<-ended
		conn.Close()
	}
}

// TestPassNoSuccessor: a daemon does not wait forever, and leaves no socket.
func TestPassNoSuccessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if _, err := Pass(path, Queues{}, time.Millisecond, func() {}); !errors.Is(err, ErrNoSuccessor) {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket exists: %v", err)
	}
}

// TestFetchHangs: a daemon that does not end keeps its queues.
func TestFetchHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if q, err := Fetch(path, 20*time.Millisecond); q != nil || err == nil {
		t.Errorf("%v, %v", q, err)
	}
}

// TestSystemd: what is stored returns at the next start, by its name.
func TestSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	q, ends := pipes(t, 7, 8)
	t.Setenv("NOTIFY_SOCKET", "")
	if err := ToSystemd(q, time.Minute); !errors.Is(err, ErrNoSystemd) {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	kept := map[string]int{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			text, rights := make([]byte, 200), make([]byte, 200)
			n, m, _, _, err := ln.ReadMsgUnix(text, rights)
			if err != nil {
				t.Error(err)
				return
			}
			messages, _ := unix.ParseSocketControlMessage(rights[:m])
			fds, _ := unix.ParseUnixRights(&messages[0])
			if string(text[:n]) == "BARRIER=1" {
				unix.Close(fds[0])
				return
			}
			kept[string(text[:n])] = fds[0]
		}
	}()
	if err := ToSystemd(q, time.Minute); err != nil {
		t.Fatal(err)
	}
	<-read
	q.Close()
	var fds []int
	names := ""
	for num := range ends {
		fd, ok := kept["FDSTORE=1\nFDNAME=queue-"+strconv.Itoa(int(num))+"\nFDPOLL=0"]
		if !ok {
			t.Fatalf("queue %d is not stored: %v", num, kept)
		}
		fds, names = append(fds, fd), names+"queue-"+strconv.Itoa(int(num))+":"
	}
	got := unpack(fds, names)
	defer got.Close()
	got.mustBe(t, ends)
}

// TestUnpack: other descriptors are closed.
func TestUnpack(t *testing.T) {
	for _, names := range []string{"", "queue-1:x", "queue-1:queue-65536", "queue-1:queue-1", "queue-1:", "queue-1:queue--1"} {
		q, ends := pipes(t, 1, 2)
		got := unpack([]int{q[1], q[2]}, names)
		if names != "" {
			delete(ends, 2)
		} else {
			clear(ends)
		}
		got.mustBe(t, ends)
		got.Close()
		if unix.Close(q[2]) == nil {
			t.Errorf("%q: the other descriptor is open", names)
		}
	}
}

// TestFromSystemd: without the process id it is for another process.
func TestFromSystemd(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_FDNAMES", "queue-1")
	if q := FromSystemd(); q != nil || os.Getenv("LISTEN_FDS") != "" {
		t.Errorf("%v, %q", q, os.Getenv("LISTEN_FDS"))
	}
}
