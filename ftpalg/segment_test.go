// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "testing"

// TestBareSegment: a segment without payload acknowledges what its sender has,
// and is dropped, like any other, if its numbers are not of the connection.
func TestBareSegment(t *testing.T) {
	g := newGateway(snat, Policy{})
	talk(t, g, "S: 220 ready\nC: USER one\nS: 230 in\nC: PORT 192,168,1,5,200,10")
	s := &g.c.stream[Original]
	has := s.position(s.next) // in the server's numbers
	bare := Segment{Dir: Reply, Seq: g.next(Reply), Ack: has, Acks: true}
	if dec := g.c.Segment(&bare); dec.Action != Forward || dec.Reason != ReasonPlain || len(dec.Events) > 0 {
		t.Errorf("an acknowledgement: %+v", dec)
	}
	if s.acked != has || !s.arrived(&s.edits[0]) {
		t.Errorf("acknowledged %d, want %d", s.acked, has)
	}
	for _, far := range []Segment{
		{Dir: Reply, Seq: bare.Seq, Ack: has + 2*farAway, Acks: true},
		{Dir: Reply, Seq: bare.Seq + 2*farAway, Ack: has, Acks: true},
		{Dir: Reply, Seq: bare.Seq + 2*farAway, Ack: has, Acks: true, Payload: []byte("500 no\r\n")},
	} {
		if dec := g.c.Segment(&far); dec.Action != Drop || dec.Reason != ReasonFarAway || len(dec.Events) > 0 {
			t.Errorf("%+v: %+v", far, dec)
		}
	}
	if s.acked != has {
		t.Errorf("a far-away number was accepted: %d", s.acked)
	}
}
