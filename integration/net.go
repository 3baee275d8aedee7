// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// namePrefix starts the name of every namespace and directory of this package;
// the pid of the test process and a serial number follow.
const namePrefix = "pvp-integration-"

var serial atomic.Uint32

// Net is a set of network namespaces made for one test. They and every process in
// them end with the test, however it ends.
type Net struct {
	t     testing.TB
	name  string
	dir   string
	hosts []*Host
	// before runs first when the Net closes, last added first, while all hosts
	// still work: it stops and checks daemons.
	before []func()
	once   sync.Once
}

// live has the Nets to close when the test process is interrupted.
var live struct {
	sync.Mutex
	nets map[*Net]bool
}

// making is held for reading while something is made that removeAll has to find.
// removeAll holds it for writing, for good.
var making sync.RWMutex

// NewNet makes a Net without hosts. It skips the test without the privileges.
func NewNet(t testing.TB) *Net {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	making.RLock()
	defer making.RUnlock()
	name := fmt.Sprintf("%s%d-%d", namePrefix, os.Getpid(), serial.Add(1))
	n := &Net{t: t, name: name, dir: filepath.Join(os.TempDir(), name)}
	// Servers drop root and must still reach their files: 0755, not t.TempDir.
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	live.Lock()
	if live.nets == nil {
		live.nets = make(map[*Net]bool)
	}
	live.nets[n] = true
	live.Unlock()
	t.Cleanup(n.close)
	return n
}

// Before registers f to run when the Net closes, while its hosts still work.
func (n *Net) Before(f func()) { n.before = append(n.before, f) }

// close ends the Net at the end of its test; if the test failed it logs the state
// first.
func (n *Net) close() {
	if n.t.Failed() {
		n.t.Log(n.Dump())
	}
	for _, f := range slices.Backward(n.before) {
		f()
	}
	n.remove()
}

// remove kills the processes and deletes namespaces and files.
func (n *Net) remove() {
	n.once.Do(func() {
		for _, h := range n.hosts {
			h.remove()
		}
		os.RemoveAll(n.dir)
		live.Lock()
		delete(live.nets, n)
		live.Unlock()
	})
}

// removeAll removes every Net of this process, which must then exit: nothing new
// can be made any more.
func removeAll() {
	making.Lock()
	live.Lock()
	nets := make([]*Net, 0, len(live.nets))
	for n := range live.nets {
		nets = append(nets, n)
	}
	live.Unlock()
	for _, n := range nets {
		n.remove()
	}
}

// Host adds a namespace. Its name is unique on the machine; role is for people.
func (n *Net) Host(role string) *Host {
	n.t.Helper()
	making.RLock()
	defer making.RUnlock()
	h, err := newHost(n.name, role, filepath.Join(n.dir, role))
	if err != nil {
		n.t.Skipf("no network namespace: %v", err)
	}
	n.hosts = append(n.hosts, h)
	return h
}
