// SPDX-License-Identifier: Apache-2.0

package fastpath

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	// slotCount is how many connections can be armed; the others have no slot.
	slotCount = 1 << 15
	// restTime is how long a freed slot is not reused: a processor may still be
	// in the middle of the filter with it.
	restTime = time.Second
)

// Table is the filter with its maps.
type Table struct {
	entrance *ebpf.Program // of the rule
	filter   *ebpf.Program
	array    *ebpf.Map // holds the filter, for entrance
	conns    *ebpf.Map // index of a slot * 2 + direction, by key
	slots    *ebpf.Map
	memory   []byte // of slots

	mu    sync.Mutex
	used  uint32 // slots that were ever used
	spare []spareSlot
}

// spareSlot is a slot that was freed.
type spareSlot struct {
	index uint32
	since time.Time
}

// Load loads the filter into the kernel, which needs CAP_BPF. Without passive it
// lets no command pass that asks for a port.
func Load(passive bool) (*Table, error) {
	t := &Table{}
	if err := t.load(passive); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Table) load(passive bool) (err error) {
	if t.conns, err = ebpf.NewMap(&ebpf.MapSpec{Name: "pasvport_conns", Type: ebpf.Hash, KeySize: keyLen, ValueSize: 4,
		MaxEntries: 2 * slotCount, Flags: unix.BPF_F_NO_PREALLOC}); err != nil {
		return err
	}
	if t.slots, err = ebpf.NewMap(&ebpf.MapSpec{Name: "pasvport_slots", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(slotLen),
		MaxEntries: slotCount, Flags: unix.BPF_F_MMAPABLE}); err != nil {
		return err
	}
	if t.memory, err = unix.Mmap(t.slots.FD(), 0, slotCount*slotLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map memory: %w", err)
	}
	if t.filter, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "pasvport_line", Type: ebpf.SocketFilter,
		License: "Apache-2.0", Instructions: filter(t.conns, t.slots, passive)}); err != nil {
		return err
	}
	if t.array, err = ebpf.NewMap(&ebpf.MapSpec{Name: "pasvport_live", Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4,
		MaxEntries: 1}); err != nil {
		return err
	}
	if t.entrance, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "pasvport_rule", Type: ebpf.SocketFilter,
		License: "Apache-2.0", Instructions: entrance(t.array)}); err != nil {
		return err
	}
	return t.array.Put(uint32(0), t.filter)
}

// Program returns the descriptor of the program for the rule. It belongs to the
// table, and must stay open as long as the rule may be put back.
func (t *Table) Program() int { return t.entrance.FD() }

// Close frees what this process holds of the filter. A remaining rule queues
// every packet from then on.
func (t *Table) Close() error {
	var errs []error
	t.mu.Lock()
	if t.memory != nil {
		errs = append(errs, unix.Munmap(t.memory))
		t.memory, t.used = nil, 0
	}
	t.mu.Unlock()
	for _, m := range []*ebpf.Map{t.array, t.conns, t.slots} {
		errs = append(errs, m.Close())
	}
	for _, p := range []*ebpf.Program{t.entrance, t.filter} {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// take returns the index of a free slot.
func (t *Table) take(now time.Time) (index uint32, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.spare) > 0 && now.Sub(t.spare[0].since) >= restTime {
		index = t.spare[0].index
		t.spare = t.spare[1:]
		return index, true
	}
	if t.used == slotCount {
		return 0, false
	}
	t.used++
	return t.used - 1, true
}

func (t *Table) giveBack(index uint32, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spare = append(t.spare, spareSlot{index, now})
}

// Lines returns how many lines have passed unread, of all connections.
func (t *Table) Lines() (n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.used {
		n += atomic.LoadUint64(&t.slot(i).total)
	}
	return n
}
