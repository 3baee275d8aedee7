// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"hash/fnv"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TestDamage: everything that was removed, changed or added is named, and what
// cannot exist is not missing.
func TestDamage(t *testing.T) {
	cfg := Config{Chains: []ChainRef{forward, {FamilyIPv4, "four", "pass"}}}.WithDefaults()
	want := described(cfg)
	for name, p := range want {
		p.sum = uint64(len(name))
		want[name] = p
	}
	session, aside := "chain inet pasvport session", "set inet pasvport aside"
	rule, admin := "rule of ours in chain inet filter forward", "set inet filter pasvport4"
	change := func(name string, f func(*part)) func(*survey) {
		return func(s *survey) {
			p := s.parts[name]
			f(&p)
			s.parts[name] = p
		}
	}
	gone := func(names ...string) func(*survey) {
		return func(s *survey) {
			for _, n := range names {
				delete(s.parts, n)
			}
		}
	}
	tests := []struct {
		name   string
		change func(*survey)
		want   []string
	}{
		{"nothing", func(*survey) {}, nil},
		{"set", gone(aside), []string{aside}},
		{"chain and its rules", gone(session), []string{session}},
		{"rule changed", change(session, func(p *part) { p.sum++ }), []string{session + " (changed)"}},
		{"rule added to a chain", change(session, func(p *part) { p.sum, p.rules = p.sum+1, p.rules+1 }), []string{session + " (changed)"}},
		{"chain added", change("chain inet pasvport more", func(p *part) { p.rules, p.own = 1, true }), []string{"chain inet pasvport more (added)"}},
		{"rules of the administrator's chain", gone(rule), []string{rule}},
		{"one of two rules there", change(rule, func(p *part) { p.sum, p.rules = 1, 1 }), []string{rule + " (changed)"}},
		{"set in the administrator's table", gone(admin, rule), []string{rule, admin}},
		{"our table", func(s *survey) {
			maps.DeleteFunc(s.parts, func(_ string, p part) bool { return p.own })
		}, []string{"table inet pasvport"}},
		{"one of the administrator's tables", func(s *survey) {
			s.chains = s.chains[1:]
			gone(rule, admin, "set inet filter pasvport6")(s)
		}, nil},
		{"everything", func(s *survey) {
			s.chains = nil
			clear(s.parts)
		}, []string{"table inet pasvport"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := survey{maps.Clone(want), cfg.Chains}
			tt.change(&s)
			if d := cmp.Diff(tt.want, s.damage(cfg, want)); d != "" {
				t.Errorf("damage (-want +got):\n%s", d)
			}
		})
	}
}

// TestDescribedDamage: another process does not know how the kernel shows what
// the daemon installed; it compares names and numbers of rules.
func TestDescribedDamage(t *testing.T) {
	cfg := textConfigs[3].c.WithDefaults()
	want := described(cfg)
	s := survey{parts{}, cfg.Chains}
	for name, p := range want {
		p.sum = 1
		s.parts[name] = p
	}
	if got := s.damage(cfg, want); got != nil {
		t.Errorf("nothing was changed, but damaged is %q", got)
	}
	const session = "chain inet pv2 session"
	p := s.parts[session]
	p.rules--
	s.parts[session] = p
	delete(s.parts, "set inet pv2 seen4")
	if d := cmp.Diff([]string{session + " (changed)", "set inet pv2 seen4"}, s.damage(cfg, want)); d != "" {
		t.Errorf("damage (-want +got):\n%s", d)
	}
}

// TestDescribedIsText: the parts are those that Text prints.
func TestDescribedIsText(t *testing.T) {
	for _, tt := range textConfigs {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.c.WithDefaults()
			text := Text(c)
			rules := 0
			for name, p := range described(c) {
				rules += p.rules
				kind, rest, _ := strings.Cut(strings.TrimPrefix(name, "rule of ours in "), " ")
				last := rest[strings.LastIndex(rest, " ")+1:]
				if kind == "ct" {
					kind = strings.Join(strings.Fields(name)[:2], " ")
				}
				if kind == "set" && strings.HasPrefix(last, "servers") {
					kind = "map"
				}
				switch {
				case !p.own && kind == "set":
					last = rest
				case !p.own:
					kind, last = "insert rule", rest
				case kind == "table":
					last = rest
				}
				if !strings.Contains(text, kind+" "+last+" ") {
					t.Errorf("%s: no %q in the text", name, kind+" "+last)
				}
			}
			have := 0
			for line := range strings.Lines(text) {
				words := strings.Fields(line)
				inChain := strings.HasPrefix(line, "\t\t") && !strings.HasPrefix(line, "\t\t\t") && len(words) > 0
				if strings.HasPrefix(line, "insert rule ") || inChain && isRule(words) {
					have++
				}
			}
			if rules != have {
				t.Errorf("%d rules, but %d in the text", rules, have)
			}
		})
	}
}

// isRule tells a rule from a property and a note; a rule with a program is
// printed as a note.
func isRule(words []string) bool {
	switch words[0] {
	case "type", "typeof", "flags", "size", "timeout", "elements", "}", "protocol", "dport", "l3proto":
		return false
	case "#":
		return strings.Contains(strings.Join(words, " "), wordlessText)
	}
	return true
}

// ruleBody is a rule as the kernel shows it, with the counter at counted.
func ruleBody(t *testing.T, handle uint64, counted uint64, clauses ...clause) []byte {
	t.Helper()
	b := appendString(nil, unix.NFTA_RULE_TABLE, "pasvport")
	b = appendString(b, unix.NFTA_RULE_CHAIN, "session")
	b = appendUint64(b, unix.NFTA_RULE_HANDLE, handle)
	b, list := openNest(b, unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range newRule(clauses...).exprs(FamilyINet) {
		if c, ok := e.(*expr.Counter); ok {
			c.Packets, c.Bytes = counted, 100*counted
		}
		data, err := marshal(FamilyINet, e)
		if err != nil {
			t.Fatal(err)
		}
		b = appendAttr(b, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
	}
	b = closeAttr(b, list)
	return appendAttr(b, unix.NFTA_RULE_USERDATA, appendUdataString(nil, udataRuleComment, "ours"))
}

// TestRuleSum: a rule that was made again or has counted is the same, and another
// in its place is not.
func TestRuleSum(t *testing.T) {
	sum := func(body []byte) uint64 {
		h := fnv.New64a()
		hashAttrs(h, body, ruleAttrs)
		return h.Sum64()
	}
	first := ruleBody(t, 7, 0, dport(setControlPorts), counter(), drop())
	tests := []struct {
		name string
		body []byte
		same bool
	}{
		{"made again", ruleBody(t, 99, 0, dport(setControlPorts), counter(), drop()), true},
		{"counted", ruleBody(t, 7, 5, dport(setControlPorts), counter(), drop()), true},
		{"other verdict", ruleBody(t, 7, 0, dport(setControlPorts), counter(), accept()), false},
		{"other match", ruleBody(t, 7, 0, sport(setControlPorts), counter(), drop()), false},
		{"other set", ruleBody(t, 7, 0, dport("others"), counter(), drop()), false},
		{"without its counter", ruleBody(t, 7, 0, dport(setControlPorts), drop()), false},
	}
	for _, tt := range tests {
		if same := sum(tt.body) == sum(first); same != tt.same {
			t.Errorf("%s: the same is %v, want %v", tt.name, same, tt.same)
		}
	}
	r, comment := parseRule(FamilyINet, first)
	if want := (ruleHandle{ChainRef{FamilyINet, "pasvport", "session"}, 7}); r != want || comment != "ours" {
		t.Errorf("parseRule = %v, %q, want %v", r, comment, want)
	}
}

// TestMix: the order of a chain's rules matters.
func TestMix(t *testing.T) {
	sum := func(list ...uint64) uint64 {
		s := survey{parts: parts{"chain": {own: true, rules: 3}}}
		for _, v := range list {
			s.mix("chain", v)
		}
		if p := s.parts["chain"]; !p.own || p.rules != 3 {
			t.Errorf("mixing made %+v", p)
		}
		return s.parts["chain"].sum
	}
	if again := sum(1, 2); again == sum(2, 1) || sum(1) == sum(1, 1) || again != sum(1, 2) {
		t.Error("sums do not depend on the order")
	}
}
