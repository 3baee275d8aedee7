// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
)

// TestEveryPosition tries each position once, alternating between both
// strategies, in every mode of its families; client and server are in this
// process. It is the short test of a kernel (scripts/vm-test); TestPositions is
// the full one, with real programs.
func TestEveryPosition(t *testing.T) {
	for i, p := range Positions {
		s := subjects(t)[i%len(subjects(t))]
		t.Run(p.Name+"/"+s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, p, AllowRelated, s)
			site.startMini(t)
			for _, f := range p.families() {
				for i, port := range p.dialled() {
					t.Run(fmt.Sprintf("%s/%d", f, port), func(t *testing.T) { site.everyMode(t, f, i) })
				}
			}
		})
	}
}

// startMini starts a miniServer on the position's ports and families.
func (s *Site) startMini(t *testing.T) {
	t.Helper()
	var listen []netip.AddrPort
	for _, f := range s.Position.families() {
		for _, port := range s.Position.listening() {
			listen = append(listen, netip.AddrPortFrom(s.ServerAddr(f), port))
		}
	}
	startMini(t, s.ServerHost(), listen...)
}

// everyMode is one session that fetches a file in each mode of a family, and
// switches between them so that lengths change back and forth.
func (s *Site) everyMode(t *testing.T, f Family, port int) {
	t.Helper()
	from := s.ClientHost()
	session, err := miniLogin(from, s.Dial(from, f, port))
	if err != nil {
		t.Fatal(err)
	}
	defer session.c.Close()
	modes := f.Modes()
	for _, m := range append(modes[:len(modes):len(modes)], modes[0]) {
		s.Case(Case{Mode: m, Family: f, Server: "mini", Client: "mini"}).Count(t)
		var got bytes.Buffer
		n, err := session.transfer(m, "medium", &got)
		if err == nil && !bytes.Equal(got.Bytes(), miniData[:miniMedium]) {
			err = fmt.Errorf("%d bytes of %d, or the contents differ", n, miniMedium)
		}
		if err != nil {
			t.Fatalf("%s: %v", m, err)
		}
	}
	if line, err := session.command("QUIT"); err != nil || line != "221 bye\r\n" {
		t.Errorf("QUIT: %q, %v", line, err)
	}
	if _, err := session.in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after QUIT: %v, want the end", err)
	}
}
