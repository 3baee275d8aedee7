// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

// sent is what the journal got.
type sent struct {
	Message  string
	Priority journal.Priority
	Fields   map[string]string
}

func TestJournal(t *testing.T) {
	var got []sent
	var rest bytes.Buffer
	level := new(slog.LevelVar)
	h := newJournalHandler(slog.NewTextHandler(&rest, &slog.HandlerOptions{Level: level}), level,
		func(m string, p journal.Priority, f map[string]string) error {
			if strings.Contains(m, "refused") {
				return errors.New("journald is away")
			}
			got = append(got, sent{m, p, f})
			return nil
		})
	log := slog.New(h)
	log.Debug("not of this level")
	log.Info("ready", "strategy", "claim", "seen-as", netip.MustParseAddrPort("192.0.2.1:21"), "for", 3*time.Second)
	log.Warn("two\nlines", slog.Group("offer", "verb", "PORT"))
	log.With("a", 1).WithGroup("g").With("b", 2).Error("deep", "c", 3)
	level.Set(slog.LevelDebug)
	log.Debug("of this level")
	log.Info("refused")

	id := func(more ...string) map[string]string {
		m := map[string]string{"SYSLOG_IDENTIFIER": "pasvport"}
		for i := 0; i < len(more); i += 2 {
			m["PASVPORT_"+more[i]] = more[i+1]
		}
		return m
	}
	want := []sent{
		{`msg=ready strategy=claim seen-as=192.0.2.1:21 for=3s`, journal.PriInfo, id("EVENT", "ready", "STRATEGY", "claim", "SEEN_AS", "192.0.2.1", "SEEN_AS_PORT", "21", "FOR", "3s")},
		{`msg="two\nlines" offer.verb=PORT`, journal.PriWarning, id("EVENT", "two\nlines", "OFFER_VERB", "PORT")},
		{`msg=deep a=1 g.b=2 g.c=3`, journal.PriErr, id("EVENT", "deep", "A", "1", "G_B", "2", "G_C", "3")},
		{`msg="of this level"`, journal.PriDebug, id("EVENT", "of this level")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if !strings.Contains(rest.String(), "level=INFO msg=refused\n") || strings.Count(rest.String(), "\n") != 1 {
		t.Errorf("standard error has %q, want the line that could not be sent", rest.String())
	}
}

// TestJournalAway: if standard error seems to be the journal's, but no journald
// runs, the lines go to standard error nevertheless.
func TestJournalAway(t *testing.T) {
	if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
		t.Skip("this machine has a journal")
	}
	p := startDaemonAs(t, func(p *process) {
		p.Args = append([]string{"sh", "-c", `JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$0" "$@"`, p.Path}, p.Args[1:]...)
		p.Path = "/bin/sh"
	})
	p.until(t, "level=INFO msg=ready")
	signalTo(t, p, syscall.SIGTERM)
	if exit, _ := p.exit(t); exit != 0 {
		t.Errorf("exit status %d, want 0", exit)
	}
}
