// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is a network namespace with a directory for the files of its processes.
// Its methods may be called from several goroutines.
type Host struct {
	Role string
	// Dir has the configuration, logs and sockets of the host's processes.
	Dir string

	name   string
	ns     netns.NsHandle
	nl     *netlink.Handle
	tid    int
	jobs   chan func()
	gone   chan struct{} // closed when the host is removed
	serial uint32

	mu    sync.Mutex
	procs []*Process
}

// newHost creates the namespace and a thread that stays in it for good. That
// thread starts the processes, so that PR_SET_PDEATHSIG, which watches for the
// death of the parent thread, means the death of the test.
func newHost(net, role, dir string) (*Host, error) {
	h := &Host{Role: role, Dir: dir, name: net + "-" + role,
		jobs: make(chan func()), gone: make(chan struct{})}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	made := make(chan error)
	go h.serve(made)
	if err := <-made; err != nil {
		return nil, fmt.Errorf("namespace %s: %w", h.name, err)
	}
	return h, nil
}

// serve is the host's thread. It never unlocks: the thread dies with it.
func (h *Host) serve(made chan<- error) {
	runtime.LockOSThread()
	err := h.create()
	made <- err
	if err != nil {
		return
	}
	for {
		select {
		case job := <-h.jobs:
			job()
		case <-h.gone:
			return
		}
	}
}

func (h *Host) create() (err error) {
	if h.ns, err = netns.NewNamed(h.name); err != nil {
		return err
	}
	h.tid = unix.Gettid()
	for file, value := range map[string]string{
		"net/ipv6/conf/all/accept_dad":     "0",
		"net/ipv6/conf/default/accept_dad": "0",
	} {
		if err := os.WriteFile("/proc/sys/"+file, []byte(value), 0); err != nil {
			return err
		}
	}
	if h.nl, err = netlink.NewHandleAt(h.ns, unix.NETLINK_ROUTE); err != nil {
		return err
	}
	lo, err := h.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	return h.nl.LinkSetUp(lo)
}

// errGone is returned by a host that was removed under its test.
var errGone = errors.New("the host was removed")

// do runs f on the host's own thread; f must be short.
func (h *Host) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case h.jobs <- func() { done <- f() }:
		return <-done
	case <-h.gone:
		return errGone
	}
}

// enter runs f on a new thread inside the namespace; f may block.
func (h *Host) enter(f func() error) error {
	err := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not reused
		if e := netns.Set(h.ns); e != nil {
			err <- e
			return
		}
		err <- f()
	}()
	return <-err
}

// Sysctl sets a variable of this namespace, named with slashes.
func (h *Host) Sysctl(name, value string) error {
	return h.do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
}

// Proc reads a file below /proc/net as this namespace sees it.
func (h *Host) Proc(name string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/%s", h.tid, name))
	if err != nil {
		return err.Error() + "\n"
	}
	return string(b)
}

// Dial opens a TCP connection from this host; local may be the zero value.
func (h *Host) Dial(local, remote netip.AddrPort, timeout time.Duration) (*net.TCPConn, error) {
	var conn *net.TCPConn
	err := h.enter(func() error {
		d := net.Dialer{Timeout: timeout}
		d.SetMultipathTCP(false)
		if local.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
			// Servers connect from one port to many clients at a time.
			d.Control = func(_, _ string, c syscall.RawConn) error {
				return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			}
		}
		c, err := d.Dial("tcp", remote.String())
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}

// Listen opens a TCP listener on this host.
func (h *Host) Listen(local netip.AddrPort) (*net.TCPListener, error) {
	var ln *net.TCPListener
	err := h.enter(func() error {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(context.Background(), "tcp", local.String())
		if err == nil {
			ln = l.(*net.TCPListener)
		}
		return err
	})
	return ln, err
}

// File writes a file into the host's directory and returns its path.
func (h *Host) File(name, content string) (string, error) {
	path := filepath.Join(h.Dir, name)
	return path, os.WriteFile(path, []byte(content), 0o644)
}

// remove kills all processes in the namespace and deletes it.
func (h *Host) remove() {
	h.mu.Lock()
	procs := slices.Clone(h.procs)
	h.mu.Unlock()
	for _, p := range procs {
		p.Kill()
	}
	removeNamespace(h.name)
	h.nl.Close()
	h.ns.Close()
	close(h.gone)
}

// sweep removes what test processes left that died without cleaning up.
func sweep() {
	left, _ := filepath.Glob("/run/netns/" + namePrefix + "*")
	for _, path := range left {
		if name := filepath.Base(path); ownerDead(name) {
			removeNamespace(name)
		}
	}
	left, _ = filepath.Glob(filepath.Join(os.TempDir(), namePrefix+"*"))
	for _, path := range left {
		if ownerDead(filepath.Base(path)) {
			os.RemoveAll(path)
		}
	}
}

// ownerDead reports whether the process that a name of this package belongs to is
// gone.
func ownerDead(name string) bool {
	var pid int
	if _, err := fmt.Sscanf(strings.TrimPrefix(name, namePrefix), "%d-", &pid); err != nil {
		return false
	}
	return unix.Kill(pid, 0) == unix.ESRCH
}

// removeNamespace kills the processes of a named namespace and unmounts it.
func removeNamespace(name string) {
	path := "/run/netns/" + name
	var ns unix.Stat_t
	if unix.Stat(path, &ns) == nil {
		killInside(ns)
	}
	if unix.Unmount(path, unix.MNT_DETACH) == nil {
		os.Remove(path)
	}
}

// killInside kills every process of the namespace with this inode: servers fork,
// and we have no list of their children.
func killInside(ns unix.Stat_t) {
	tasks, _ := filepath.Glob("/proc/[0-9]*")
	for _, task := range tasks {
		var st unix.Stat_t
		if unix.Stat(task+"/ns/net", &st) != nil || st.Ino != ns.Ino || st.Dev != ns.Dev {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(filepath.Base(task), &pid); err == nil && pid != os.Getpid() {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}
