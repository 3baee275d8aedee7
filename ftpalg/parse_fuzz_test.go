// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

// again parses the encoding of a parsed value, which must give the same value.
func again(t *testing.T, in []byte, ap netip.AddrPort, out []byte, parse func([]byte, bool) (netip.AddrPort, int, Reason)) {
	t.Helper()
	got, n, r := parse(out, false)
	if r != ReasonPlain || got != ap || n != len(out) {
		t.Errorf("%q is %v; appended it is %q, which is %v (%d bytes, %v)", in, ap, out, got, n, r)
	}
}

func FuzzHostPort(f *testing.F) {
	for _, s := range []string{"192,168,1,5,200,10", "0,0,0,0,0,0", "255,255,255,255,255,255", "1,2,3,4,5,256", "1,2,3,4,5", "1,2,3,4,5,6,", "01,002,3,4,5,6)", "1, 2 ,\t3,4,5,6", "00000001,2,3,4,5,6 , 7", "1,2,3,4,5,6 ,"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ap, n, r := parseHostPort(b, true)
		if n < 0 || n > len(b) || (r == ReasonPlain) != (n > 0) {
			t.Fatalf("%q: %v, %d bytes, %v", b, ap, n, r)
		}
		if r == ReasonPlain {
			again(t, b, ap, []byte(list(hostPortNumbers(ap))), parseHostPort)
		}
		_, at, r := findList(b, parseHostPort)
		if at.from < 0 || at.from > at.to || at.to > len(b) || (r == ReasonPlain) != (at.to > 0) {
			t.Fatalf("%q: found at %v, %v", b, at, r)
		}
	})
}

func FuzzLong(f *testing.F) {
	for _, s := range []string{"4,4,192,168,1,5,2,200,10", "6,16,253,119,0,0,0,0,0,0,0,0,0,0,0,0,0,2,2,200,10", "4,16,1,2,3,4,2,5,6",
		"6,16,0,0,0,0,0,0,0,0,0,0,255,255,1,2,3,4,2,5,6", "9,4,1,2,3,4,2,5,6", "4,4,1,2,3,4,2,5,6,"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ap, n, r := parseLong(b, true)
		if n < 0 || n > len(b) || (r == ReasonPlain) != (n > 0) {
			t.Fatalf("%q: %v, %d bytes, %v", b, ap, n, r)
		}
		if r == ReasonPlain {
			again(t, b, ap, []byte(list(longNumbers(ap))), parseLong)
		}
		_, at, r := findList(b, parseLong)
		if at.from < 0 || at.from > at.to || at.to > len(b) || (r == ReasonPlain) != (at.to > 0) {
			t.Fatalf("%q: found at %v, %v", b, at, r)
		}
	})
}

func FuzzExtended(f *testing.F) {
	for _, s := range []string{"|1|192.168.1.5|51210|", "|2|fd77::2|51210|", "|||51210|", "!!!1!", "|2|fe80::1%eth0|1|", "|1|1.2.3.4|65536|", "|2|::ffff:1.2.3.4|1|", "|1||7|", "||1.2.3.4|7|", "|01|010.001.0.09|007|"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, n, r := parseExtended(b)
		if n < 0 || n > len(b) {
			t.Fatalf("%q: %+v, %d bytes, %v", b, e, n, r)
		}
		if r != ReasonPlain {
			return
		}
		if e.addr.from > e.addr.to || e.addr.to >= e.port.from || e.port.to >= n {
			t.Fatalf("%q: fields at %v and %v of %d", b, e.addr, e.port, n)
		}
		o := Offer{Verb: VerbEPRT, text: b[:n]}
		o.extended(b, 0, &e)
		out := o.newText(e.AddrPort)
		e2, n2, r := parseExtended(out)
		if r != ReasonPlain || e2.AddrPort != e.AddrPort || n2 != len(out) {
			t.Errorf("%q is %v; appended it is %q, which is %v, %v", b, e.AddrPort, out, e2.AddrPort, r)
		}
	})
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{"PORT 1,2,3,4,5,6", "epsv all ", "USER", "\xff\xf4\xff\xf2ABOR", "SI\xff\xf1TE x", "  \x00AUTH TLS", "\xff\xfa\x01\xff\xf0NOOP", "a\xff\xffb",
		"SITE chmod 7", "USER ftp\x00x", "STOR a/B.EXE \xff", "RETR " + strings.Repeat("x", 60), "XRMD \\x.exe", "EPSV", "STORX", "1 2 SITE\tCHM", "A00000\x00"} {
		f.Add([]byte(s))
	}
	var conns []*Conn
	for _, p := range []Policy{
		{DenyTLS: true, Deny: map[string]bool{"SITE": true}},
		{Deny: map[string]bool{"SITE CHMOD": true}, NoActive: true, Anonymous: AnonymousNever},
		{Allow: map[string]bool{"USER": true, "SITE CHMOD": true}, Anonymous: AnonymousOnly},
		{RequireTLS: true, NoIPv4: true, MaxLine: 40},
		{Files: []FileRule{{Patterns: []string{"*.exe", "s?cret*"}, FoldCase: true}, {Patterns: []string{"x"}, Actions: FileUpload}}, MaxPath: 50},
		{MaxArgument: 5, NoPassive: true},
	} {
		conns = append(conns, NewConn(routed, &p, Options{}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text := appendText(nil, b)
		if at := textLen(b, len(text)); at > len(b) || len(appendText(nil, b[:at])) != len(text) {
			t.Fatalf("%q: %d bytes hold the text %q", b, at, text)
		}
		cmd, v, arg := parseCommand(text)
		if arg > len(text) {
			t.Fatalf("%q: argument at %d of %d", b, arg, len(text))
		}
		if cmd != cmdUnknown && (commands[string(v.bytes())] != cmd && cmd != cmdEPSVAll || !equalFold(text[:len(v.bytes())], string(v.bytes()))) {
			t.Fatalf("%q: verb %q, command %d", b, v.bytes(), cmd)
		}
		if bytes.IndexByte(b, '\n') < 0 {
			for _, c := range conns {
				judgedInParts(t, c, b)
			}
		}
	})
}

// judgedInParts: a denied line must be held in every part of it that contains a
// letter of the verb, and one that is not denied must not be denied in any part.
func judgedInParts(t *testing.T, c *Conn, b []byte) {
	t.Helper()
	line := bytes.TrimRight(b, "\r")
	whole := c.judgeLine(line, true)
	if whole.at.from > whole.at.to || whole.at.to > len(line) {
		t.Fatalf("%q: the verb is at %v", b, whole.at)
	}
	for i := skipFront(b) + 1; i <= len(line); i++ {
		part := c.judgeLine(line[:i], false)
		if whole.why != ReasonPlain && part.why == ReasonPlain && !part.open && whole.rule != "max-line" {
			t.Fatalf("%+v: %q is denied (%v), %q is not held", *c.policy, b, whole.why, b[:i])
		}
		if part.why != ReasonPlain && whole.why == ReasonPlain {
			t.Fatalf("%+v: %q is denied (%v), and %q is not", *c.policy, b[:i], part.why, b)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"227 Entering Passive Mode (10,0,0,2,200,10).", "227 10,0,0,2,200,10", "228 (4,4,10,0,0,2,2,200,10)", "229 (|||51210|)", "229 (||51|)|||9|", "227-", "22"} {
		f.Add([]byte(s), uint16(51210))
	}
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		r := parseReply(b)
		if !isPassiveCode(r.code) {
			return
		}
		if !mayBePassiveReply(b) {
			t.Fatalf("%q is a reply that was not held", b)
		}
		for _, v := range []Verb{Verb227, Verb228, Verb229} {
			o := Offer{Verb: v, Mode: Passive, text: b}
			if o.parseReply(b, min(4, len(b))) != ReasonPlain {
				continue
			}
			told := netip.AddrPortFrom(addr("203.0.113.1"), port)
			out := o.newText(told)
			o2 := Offer{Verb: v}
			if r := o2.parseReply(out, min(4, len(out))); r != ReasonPlain || o2.Announced.Port() != port || v != Verb229 && o2.Announced != told {
				t.Errorf("%q became %q, which names %v, %v", b, out, o2.Announced, r)
			}
		}
	})
}
