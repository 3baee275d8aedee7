// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "testing"

// TestWay: the direction of a transfer is reported for the offer that it uses,
// once it can be known.
func TestWay(t *testing.T) {
	const port = "C: PORT 192,168,1,5,200,10\n"
	const pasv = "C: PASV\nS: 227 (203,0,113,9,200,10)\n"
	const answer = "S: 227 (203,0,113,9,200,10)\n"
	active, passive := "offered PORT "+activeOffer, "offered 227 "+passiveOffer
	strict := Policy{OneWay: true}
	var tests []dialogueTest
	for verb, way := range map[string]string{"RETR x": "down", "LIST": "down", "nlst -a": "down", "MLSD x": "down",
		"STOR x": "up", "APPE x": "up", "stou": "up", `ST\xff\xf1OR x`: "up"} {
		tests = append(tests, dialogueTest{name: verb, ep: routed, policy: strict, lines: pasv + "C: " + verb, want: []string{passive, "way " + way}})
	}
	runDialogues(t, login, append(tests, []dialogueTest{
		{name: "not asked for", ep: routed, lines: pasv + "C: RETR x", want: []string{passive}},
		{name: "monitored", ep: routed, policy: Policy{OneWay: true, Watch: true}, lines: pasv + "C: RETR x", want: []string{passive}},
		{name: "active", ep: routed, policy: strict, lines: port + "S: 200 ok\nC: STOR x\nS: 150 go\nS: 226 done", want: []string{active, "way up"}},
		{name: "behind PORT", ep: routed, policy: strict, lines: port + "C: RETR x\nS: 200 ok\nS: 150 go\nS: 226 done", want: []string{active, "way down"}},
		{name: "behind PASV", ep: routed, policy: strict, lines: "C: PASV\nC: STOR x\n" + answer, want: []string{passive, "way up"}},
		{name: "behind PASV that fails", ep: routed, policy: strict, lines: "C: PASV\nC: STOR x\nS: 500 no\nS: 425 no\n" + pasv + "C: RETR x",
			want: []string{"way up", passive, "way down"}},
		{name: "others between", ep: routed, policy: strict, lines: pasv + "C: REST 5\nS: 350 go\nC: RETR x", want: []string{passive, "way down"}},
		{name: "a second transfer waits for its turn", ep: routed, policy: strict, lines: pasv + "C: RETR x\nC: STOR y\nS: 150 go\nS: 226 done\nS: 425 no",
			want: []string{passive, "way down", "cancelled no-data-connection"}},
		{name: "a second transfer after one that failed", ep: routed, policy: strict, lines: pasv + "C: RETR x\nS: 550 no\nC: STOR y",
			want: []string{passive, "way down", "way up"}},
		{name: "two at once", ep: routed, policy: strict, lines: "C: PASV\nC: RETR x\nC: PASV\nC: STOR y\n" + answer + "S: 150 go\nS: 226 done\n" + answer,
			want: []string{passive, "way down", passive, "way up"}},
		{name: "two at once, active", ep: routed, policy: strict, lines: port + "C: RETR x\n" + port + "C: STOR y\nS: 200 ok\nS: 150 go\nS: 226 done\nS: 200 ok",
			want: []string{active, "way down", active, "way up"}},
		{name: "a denied transfer", ep: routed, policy: Policy{OneWay: true, Deny: allow("STOR")}, lines: pasv + "C: STOR x\nS: 500 no\nC: RETR x",
			want: []string{passive, "denied command-denied", "way down"}},
	}...))
}

// TestWayAfterCrash: the client may have asked for a port before the crash,
// unknown to the new engine; its next transfer is that of the existing data
// connection.
func TestWayAfterCrash(t *testing.T) {
	c := NewConn(routed, &Policy{OneWay: true}, Options{})
	c.Continue(nil, true)
	var got []string
	seq := [2]uint32{1000, 5000}
	for _, line := range []string{"C: NOOP", "S: 200 ok", "C: STOR x"} {
		d := Original
		if line[0] == 'S' {
			d = Reply
		}
		text := []byte(line[3:] + "\r\n")
		dec := take(c, d, seq[d], text)
		for _, e := range dec.Events {
			got = append(got, describe(e))
		}
		rewrite(c, nil, d, seq[d], text)
		seq[d] += uint32(len(text))
	}
	if len(got) != 1 || got[0] != "way up" {
		t.Errorf("events %q", got)
	}
}
