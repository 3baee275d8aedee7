// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"maps"
	"slices"

	"github.com/pasvport/pasvport/expect"
)

// liveData are the data connections over which bytes may still go, by their
// session. A connection that was closed stays with the tracker for minutes
// and is not live. It is guarded by the lock of dataConnections.
type liveData struct {
	of   map[*session]map[expect.Tuple]struct{}
	due  map[*session]struct{} // whose control entry is to be looked at now
	wake chan struct{}
}

func newLiveData() liveData {
	return liveData{of: map[*session]map[expect.Tuple]struct{}{}, due: map[*session]struct{}{}, wake: make(chan struct{}, 1)}
}

func (l *liveData) add(t expect.Tuple, s *session) {
	if l.of[s] == nil {
		l.of[s] = map[expect.Tuple]struct{}{}
	}
	l.of[s][t] = struct{}{}
	s.transferring.Store(true)
	l.look(s)
}

func (l *liveData) remove(t expect.Tuple, s *session) {
	delete(l.of[s], t)
	if s != nil && len(l.of[s]) == 0 {
		delete(l.of, s)
		s.transferring.Store(false)
	}
}

// look has the control entry of a session looked at.
func (l *liveData) look(s *session) {
	l.due[s] = struct{}{}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// spoke says that a control packet of a session with data connections was
// seen. It may have set its entry's timeout to another value than before.
func (d *dataConnections) spoke(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.look(s)
}

// Due returns and forgets the sessions whose control entry is to be looked at.
func (d *dataConnections) Due() []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.Collect(maps.Keys(d.live.due))
	clear(d.live.due)
	return list
}

// Live returns the live data connections of a session.
func (d *dataConnections) Live(s *session) []expect.Tuple {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.live.of[s]))
}

// Ended notes that a data connection is not live any more.
func (d *dataConnections) Ended(t expect.Tuple, s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.remove(t, s)
}

// Wake receives when the control entry of a session is to be looked at.
func (d *dataConnections) Wake() <-chan struct{} { return d.live.wake }
