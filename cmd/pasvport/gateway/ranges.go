// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
)

// ranges are the sessions whose announcements cannot be read and whose clients may
// open ports of the range, by what the SYN of a data connection shows. The zero
// value is empty.
type ranges struct {
	mu sync.Mutex
	of map[hostPair][]*session.Session
}

// hostPair are a client and the server address that it dialled.
type hostPair struct{ client, dialled netip.Addr }

func pairOf(s *session.Session) hostPair {
	return hostPair{s.Ends().Client.Addr(), s.Ends().Dialled.Addr()}
}

// add enters a session and reports whether it is the first of its pair.
func (r *ranges) add(s *session.Session) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.of[pairOf(s)]
	if slices.Contains(list, s) {
		return false
	}
	if r.of == nil {
		r.of = map[hostPair][]*session.Session{}
	}
	r.of[pairOf(s)] = append(list, s)
	return len(list) == 0
}

// remove takes a session out and reports whether it was the last of its pair.
func (r *ranges) remove(s *session.Session) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.of[pairOf(s)]
	i := slices.Index(list, s)
	if i < 0 {
		return false
	}
	if list = slices.Delete(list, i, i+1); len(list) > 0 {
		r.of[pairOf(s)] = list
		return false
	}
	delete(r.of, pairOf(s))
	return true
}

// all returns the sessions of a pair, the newest first.
func (r *ranges) all(p hostPair) []*session.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.of[p])
	slices.Reverse(list)
	return list
}
