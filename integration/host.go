// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/netns"
)

// Host is a network namespace with a directory for the files of its processes.
// Its methods may be called from several goroutines.
type Host struct {
	Role string
	// Dir has the configuration, logs and sockets of the host's processes.
	Dir string

	*netns.Namespace
	name   string // of the namespace, for ip netns
	tid    int    // of the namespace's thread
	serial uint32

	mu    sync.Mutex
	procs []*Process
}

// newHost creates the namespace. Its thread starts the processes, so that
// PR_SET_PDEATHSIG, which watches for the death of the parent thread, means the death
// of the test.
func newHost(net, role, dir string) (*Host, error) {
	h := &Host{Role: role, Dir: dir, name: net + "-" + role}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if h.Namespace, err = netns.New(); err != nil {
		return nil, err
	}
	if err = h.Do(h.publish); err != nil {
		h.Close()
		return nil, fmt.Errorf("namespace %s: %w", h.name, err)
	}
	return h, nil
}

// publish gives the namespace its name, as ip netns add does.
func (h *Host) publish() error {
	h.tid = unix.Gettid()
	if err := os.MkdirAll(namesDir, 0o755); err != nil {
		return err
	}
	path := namesDir + h.name
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return err
	}
	err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	if err != nil {
		os.Remove(path)
	}
	return err
}

// namesDir has the namespaces that have names, for all programs.
const namesDir = "/run/netns/"

// Proc reads a file below /proc/net as this namespace sees it.
func (h *Host) Proc(name string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/%s", h.tid, name))
	if err != nil {
		return err.Error() + "\n"
	}
	return string(b)
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
	h.Close()
}

// sweep removes what test processes left that died without cleaning up.
func sweep() {
	left, _ := filepath.Glob(namesDir + namePrefix + "*")
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
	path := namesDir + name
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
