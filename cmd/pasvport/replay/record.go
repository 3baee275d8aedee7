// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Kind is the kind of a Record.
type Kind string

// The kinds of records.
const (
	KindSession   Kind = "session"   // a control connection begins
	KindLine      Kind = "line"      // the packet completed a line
	KindOffer     Kind = "offer"     // a data connection was announced and would be opened
	KindRefused   Kind = "refused"   // one was announced and would not be opened
	KindCancelled Kind = "cancelled" // the last offer is void
	KindDenied    Kind = "denied"    // a command that the policy denies
	KindEncrypted Kind = "encrypted" // nothing can be read from here on
	KindForeign   Kind = "foreign"   // the control connection is not FTP
	KindForwarded Kind = "forwarded" // it began with a PROXY header
	KindReleased  Kind = "released"  // nothing more has to be read
	KindEdit      Kind = "edit"      // what is forwarded in place of a line
	KindDecision  Kind = "decision"  // on the segment
	KindData      Kind = "data"      // an announced data connection begins
	KindUnused    Kind = "unused"    // no data connection of an offer is in the capture
	KindEnd       Kind = "end"       // a control connection ends
	KindSkipped   Kind = "skipped"   // packets that were skipped
)

// Record is one effect of a packet.
type Record struct {
	File    int     `json:"file,omitempty"`    // which capture, if there are two: 1 or 2
	Packet  int     `json:"packet,omitempty"`  // its number in the capture
	Time    float64 `json:"time"`              // seconds since the first packet
	Session int     `json:"session,omitempty"` // numbered as they begin
	Kind    Kind    `json:"kind"`
	From    string  `json:"from,omitempty"`   // who sent the packet: client or server
	Action  string  `json:"action,omitempty"` // of a decision: forward, hold or drop
	Reason  string  `json:"reason,omitempty"`
	Text    string  `json:"text,omitempty"` // of a line or an edit, without a password; otherwise a note
	Offer   *Offer  `json:"offer,omitempty"`
	Ends    *Ends   `json:"ends,omitempty"`
	Packets []int   `json:"packets,omitempty"` // skipped packets, the first ones
	Count   int     `json:"count,omitempty"`   // how many packets
}

// Offer is the announcement of a data connection.
type Offer struct {
	Verb      string         `json:"verb"`
	Mode      string         `json:"mode"`
	Announced netip.AddrPort `json:"announced"`
	Source    netip.Addr     `json:"source"` // who may connect
	Public    netip.AddrPort `json:"public"` // to where
	Target    netip.AddrPort `json:"target"` // and its translation
}

// Ends are the addresses of a control connection.
type Ends struct {
	Client  netip.AddrPort `json:"client"`
	Dialled netip.AddrPort `json:"dialled"`
	Server  netip.AddrPort `json:"server"`
	SeenAs  netip.AddrPort `json:"seen_as"`
}

// WriteJSON writes a record as one line of JSON.
func (r *Record) WriteJSON(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// WriteText writes a record as one line of text.
func (r *Record) WriteText(w io.Writer) error {
	where := ""
	if r.Packet > 0 {
		where = fmt.Sprint(r.Packet)
		if r.File > 0 {
			where = fmt.Sprintf("%d/%d", r.File, r.Packet)
		}
	}
	session := ""
	if r.Session > 0 {
		session = fmt.Sprintf("#%d", r.Session)
	}
	line := fmt.Sprintf("%7s %10.6f %4s  %s", where, r.Time, session, r.words())
	_, err := fmt.Fprintln(w, strings.TrimRight(line, " "))
	return err
}

// words is the text of a record.
func (r *Record) words() string {
	switch r.Kind {
	case KindLine:
		return fmt.Sprintf("%s %s", strings.ToUpper(r.From[:1]), r.Text)
	case KindDecision:
		return fmt.Sprintf("  %s: %s%s", r.Action, r.Reason, note(r.Text))
	case KindSession:
		return fmt.Sprintf("session %s%s", r.Ends, note(r.Text))
	case KindOffer, KindUnused, KindRefused:
		text := fmt.Sprintf("  %s: %s", r.Kind, r.Reason)
		switch {
		case r.Offer == nil:
		case r.Kind == KindRefused:
			text += ", " + r.Offer.announces()
		default:
			text += ", " + r.Offer.String()
		}
		return text + note(r.Text)
	case KindSkipped:
		of := ""
		if r.File > 0 {
			of = fmt.Sprintf(" of capture %d", r.File)
		}
		return fmt.Sprintf("skipped %d packets%s: %s, %s", r.Count, of, r.Reason, numbers(r.Packets, r.Count))
	case KindEnd, KindData:
		return fmt.Sprintf("%s %s", r.Kind, r.Text)
	}
	return fmt.Sprintf("  %s: %s%s", r.Kind, r.Reason, r.Text)
}

func note(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// numbers lists packets, and shows if there are more.
func numbers(list []int, count int) string {
	text := strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
	if count > len(list) {
		text += ", ..."
	}
	return text
}

// String describes the offer.
func (o *Offer) String() string {
	text := fmt.Sprintf("%s: %s may connect to %s", o.announces(), o.Source, o.Public)
	if o.Target != o.Public {
		text += fmt.Sprintf(", which is %s", o.Target)
	}
	return text
}

// announces is the announced address; empty if it could not be read.
func (o *Offer) announces() string {
	if !o.Announced.IsValid() {
		return o.Mode + " " + o.Verb
	}
	return fmt.Sprintf("%s %s announces %s", o.Mode, o.Verb, o.Announced)
}

// String is both ends, with the translation if any.
func (e *Ends) String() string {
	text := fmt.Sprintf("%s to %s", e.Client, e.Dialled)
	if e.Client != e.SeenAs {
		text += fmt.Sprintf(", seen as %s", e.SeenAs)
	}
	if e.Dialled != e.Server {
		text += fmt.Sprintf(", which is %s", e.Server)
	}
	return text
}
