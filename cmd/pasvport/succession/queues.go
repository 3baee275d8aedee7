// SPDX-License-Identifier: Apache-2.0

package succession

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Queues are the sockets of netfilter queues, by the queues' numbers. As long as
// a socket is open in any process the kernel queues packets to it: none is lost,
// and none passes unread, while one daemon follows another.
type Queues map[uint16]int

// Close closes the sockets.
func (q Queues) Close() {
	for _, fd := range q {
		unix.Close(fd)
	}
}

// pack returns the descriptors and their names, queue-N each.
func (q Queues) pack() (fds []int, names string) {
	var list []string
	for num, fd := range q {
		fds = append(fds, fd)
		list = append(list, namePrefix+strconv.Itoa(int(num)))
	}
	return fds, strings.Join(list, ":")
}

const namePrefix = "queue-"

// unpack is the reverse. Descriptors with other names are closed.
func unpack(fds []int, names string) Queues {
	q := Queues{}
	list := strings.Split(names, ":")
	for i, fd := range fds {
		if i < len(list) {
			text, ours := strings.CutPrefix(list[i], namePrefix)
			num, err := strconv.ParseUint(text, 10, 16)
			if _, twice := q[uint16(num)]; ours && err == nil && !twice {
				q[uint16(num)] = fd
				continue
			}
		}
		unix.Close(fd)
	}
	return q
}

// firstStored is SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstStored = 3

// FromSystemd returns the sockets that systemd kept for this process, and removes
// their variables from the environment.
func FromSystemd() Queues {
	pid, n, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	count, err := strconv.Atoi(n)
	if pid != strconv.Itoa(os.Getpid()) || err != nil {
		return nil
	}
	var fds []int
	for fd := firstStored; fd < firstStored+count; fd++ {
		unix.CloseOnExec(fd)
		fds = append(fds, fd)
	}
	return unpack(fds, names)
}

// ErrNoSystemd means that systemd did not start this process.
var ErrNoSystemd = errors.New("not started by systemd")

// ToSystemd makes systemd keep the sockets for the next start of the unit, and
// waits until it has them (FDSTORE and BARRIER of sd_notify(3)). The unit needs
// FileDescriptorStoreMax=; without it they are closed.
func ToSystemd(q Queues, within time.Duration) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return ErrNoSystemd
	}
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	send := func(state string, fd int) error {
		return unix.Sendmsg(sock, []byte(state), unix.UnixRights(fd), &unix.SockaddrUnix{Name: path}, 0)
	}
	for num, fd := range q { // one name for all descriptors of a message
		state := fmt.Sprintf("FDSTORE=1\nFDNAME=%s%d\nFDPOLL=0", namePrefix, num)
		if err := send(state, fd); err != nil {
			return err
		}
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	err = send("BARRIER=1", pipe[1])
	unix.Close(pipe[1])
	if err != nil {
		return err
	}
	ready := []unix.PollFd{{Fd: int32(pipe[0])}} // POLLHUP: everything before was read
	_, err = unix.Poll(ready, int(within.Milliseconds()))
	return err
}

// ErrNoSuccessor means that no daemon came to take over.
var ErrNoSuccessor = errors.New("no successor came")

// maxNames is the maximum length of the names of all sockets.
const maxNames = 1 << 13

// Pass waits on a socket in the file system for the next daemon, and gives it the
// queues. It calls waits when that daemon can connect. That one waits until the
// returned connection is closed, which happens at the latest when this process ends.
func Pass(path string, q Queues, within time.Duration, waits func()) (net.Conn, error) {
	// A socket has its name before it listens: a daemon that came in between
	// would be refused, and take nothing over.
	dir, short, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	unready := short + "~"
	os.Remove(unready)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: unready, Net: "unix"})
	if err != nil {
		return nil, withName(path, err)
	}
	defer ln.Close()
	ln.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(unready, 0o600), os.Rename(unready, short)); err != nil {
		os.Remove(unready)
		return nil, err
	}
	defer os.Remove(short)
	waits()
	if err := ln.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	for {
		conn, err := ln.AcceptUnix()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoSuccessor, errors.Unwrap(err)) // without the name
		}
		if err = trusted(conn); err == nil {
			fds, names := q.pack()
			_, _, err = conn.WriteMsgUnix([]byte(names), unix.UnixRights(fds...), nil)
		}
		if err == nil {
			return conn, nil
		}
		conn.Close()
	}
}

// maxAddress is the longest name that fits into the address of a socket (sun_path of
// unix(7) less its NUL).
const maxAddress = 107

// shorten returns a name of a path that fits into the address of a socket, also with
// a "~", until the returned file, which may be nil, is closed: the name of a control
// socket is shorter than those of others in its directory.
func shorten(path string) (dir *os.File, short string, err error) {
	if len(path) < maxAddress {
		return nil, path, nil
	}
	dir, err = os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, "", err
	}
	return dir, fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), nil
}

// withName is an error of a socket with its own name in place of the short one.
func withName(path string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s %s: %w", op.Op, path, op.Err)
	}
	return err
}

// errStranger means that another user has the other end of a socket.
var errStranger = errors.New("the other end is another user's")

// trusted reports whether the other end belongs to root or this user.
func trusted(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return err
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return errStranger
	}
	return nil
}

// Fetch takes the queues of a daemon that waits in Pass, and waits until it has
// ended. Without such a daemon it returns none.
func Fetch(path string, within time.Duration) (Queues, error) {
	dir, short, err := shorten(path)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: short, Net: "unix"})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, withName(path, err)
	}
	defer conn.Close()
	if err := trusted(conn); err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	names, rights := make([]byte, maxNames), make([]byte, 1<<12)
	n, m, _, _, err := conn.ReadMsgUnix(names, rights)
	if err != nil {
		return nil, err
	}
	q, err := received(rights[:m], string(names[:n]))
	if err != nil {
		return nil, err
	}
	if n, _, _, _, err := conn.ReadMsgUnix(make([]byte, 1), nil); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		q.Close()
		return nil, fmt.Errorf("the daemon before does not end: %w", err)
	}
	return q, nil
}

func received(rights []byte, names string) (Queues, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range messages {
		list, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		fds = append(fds, list...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return unpack(fds, names), nil
}
