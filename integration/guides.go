// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Scenario is one machine of a guide: the blocks of docs/guides/*.md that have
// the same name in the comment before them,
//
//	<!-- test NAME: POSITION [ipv4] [kernel] -->
//
// where the first of them names the POSITION. A ruleset that no one types is in the file
// testdata/guides/GUIDE.NAME.nft or .iptables, with "# POSITION" as its first line. ipv4 leaves IPv6 out, kernel means
// that it is for the in-kernel helper and not for pasvport. The round guides of
// scripts/vm-test runs other blocks of shell.
type Scenario struct {
	Guide, Name string
	Position    Position
	Kernel      bool
	// NFT, IPTables, YAML, Shell and Tayga (its configuration) are the texts of
	// its blocks, with interface names and addresses of the test's network.
	NFT, IPTables, YAML, Shell, Tayga string
}

// machine is a place that a guide's ruleset can be for.
type machine struct {
	position Position
	// names are pairs of a guide's name and its replacement in the test's
	// network.
	names []string
}

// machines have the positions that the guides speak of. In all of them in0 is the
// clients' side, and out0 the server's.
var machines = map[string]machine{
	"masquerade":         {position("masquerade"), []string{`lan0`, `in0`, `wan0`, `out0`, `br-lan`, `in0`, `"wan"`, `"out0"`}},
	"dnat":               {position("dnat"), []string{`"wan0"`, `"in0"`, `"eth0"`, `"in0"`, `docker0`, `out0`, `172.17.0.`, `203.0.113.`, `192.168.1.10`, `203.0.113.2`}},
	"server-on-firewall": {position("server-on-firewall"), nil},
	"nat64":              {nat64, nat64Names},
	"nat64-own":          {nat64Own, nat64Names},
	"cloud":              {cloud, []string{`203.0.113.5`, `10.7.0.1`, `10.0.0.5`, `172.16.5.2`}},
}

// pairGuide is the guide for two machines, which TestGuidePair follows.
const pairGuide = "pair"

// nat64Names: Tayga answers for no private address in the well-known prefix.
var nat64Names = []string{`lan0`, `in0`, `wan0`, `out0`, `64:ff9b::/96`, nat64Prefix.String()}

// cloud is a server behind a translation that it does not control: the first
// firewall is the cloud's, and the second the server's own.
var cloud = Position{Name: "cloud", Firewalls: 2, Target: clientGate}

var (
	// guideBlock is a fenced block with its language and text.
	guideBlock = regexp.MustCompile("(?ms)^(<!-- [^\n]* -->\n)?```([a-z]+)\n(.*?)^```$")
	guideMark  = regexp.MustCompile(`^<!-- test ([a-z-]+)(?:: ([a-z0-9-]+)( ipv4)?( kernel)?)? -->\n$`)
	// rulesetMark is the first line of a ruleset that is not in the guide.
	rulesetMark = regexp.MustCompile(`^# ([a-z0-9-]+)( ipv4)?( kernel)?\n`)
	// guideCommands precedes shell: the scenarios for which the round "guides" of
	// scripts/vm-test runs it, or why it cannot.
	guideCommands = regexp.MustCompile(`^<!-- (?:run ([a-z -]+)|not run: .+) -->\n$`)
)

// Scenarios reads all guides. A ruleset that belongs to no scenario is an error:
// no test would run it.
func Scenarios(t testing.TB) []*Scenario {
	t.Helper()
	var all []*Scenario
	apart := rulesets(t)
	for guide, text := range guides(t) {
		if guide == pairGuide {
			continue
		}
		list, err := scenarios(guide, text, apart[guide])
		delete(apart, guide)
		if err != nil {
			t.Errorf("%s: %v", guide, err)
		}
		all = append(all, list...)
	}
	for guide := range apart {
		t.Errorf("testdata/guides has rulesets for %q, which is not a guide", guide)
	}
	return all
}

// guides are the texts of all guides by their names.
func guides(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../docs/guides/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimSuffix(filepath.Base(file), ".md")] = string(text)
	}
	return texts
}

// guideConfigs are the configurations that belong to no scenario.
func guideConfigs(t testing.TB) (texts []string) {
	t.Helper()
	for _, text := range guides(t) {
		for _, block := range guideBlock.FindAllStringSubmatch(text, -1) {
			if block[1] == "" && block[2] == "yaml" {
				texts = append(texts, block[3])
			}
		}
	}
	return texts
}

// rulesets are those that are not in the text of a guide, by its name.
func rulesets(t testing.TB) map[string][]*Scenario {
	t.Helper()
	files, err := filepath.Glob("testdata/guides/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rulesets: %v", err)
	}
	all := map[string][]*Scenario{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		part := strings.Split(filepath.Base(file), ".") // guide, name and language
		mark := rulesetMark.FindStringSubmatch(string(text))
		if len(part) != 3 || mark == nil {
			t.Fatalf("%s: want GUIDE.NAME.LANGUAGE with its position", file)
		}
		s, err := newScenario(part[0], part[1], mark[1:])
		if err == nil {
			err = s.add(part[2], string(text), mark[1])
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[s.Guide] = append(all[s.Guide], s)
	}
	return all
}

// scenarios reads one guide, for which there may be rulesets elsewhere.
func scenarios(guide, text string, list []*Scenario) ([]*Scenario, error) {
	named := map[string]*Scenario{}
	for _, s := range list {
		named[s.Name] = s
	}
	var commands []string // names of scenarios
	for _, block := range guideBlock.FindAllStringSubmatch(text, -1) {
		mark, language, body := guideMark.FindStringSubmatch(block[1]), block[2], block[3]
		if language == "sh" && mark == nil {
			run := guideCommands.FindStringSubmatch(block[1])
			if run == nil {
				return list, fmt.Errorf("no test runs these commands, and no comment says why:\n%s", body)
			}
			commands = append(commands, strings.Fields(run[1])...)
			continue
		}
		if mark == nil {
			if language == "nft" || language == "iptables" || language == "tayga" || block[1] != "" {
				return list, fmt.Errorf("%q: no test runs this block of %s:\n%s", block[1], language, body)
			}
			continue
		}
		s := named[mark[1]]
		if s == nil {
			var err error
			if s, err = newScenario(guide, mark[1], mark[2:]); err != nil {
				return list, err
			}
			named[s.Name] = s
			list = append(list, s)
		}
		if err := s.add(language, body, mark[2]); err != nil {
			return list, err
		}
	}
	for _, name := range commands {
		if named[name] == nil {
			return list, fmt.Errorf("commands for %q, of which there is no ruleset", name)
		}
	}
	return list, nil
}

// newScenario is one whose mark has a machine, and words for IPv4 and the kernel.
func newScenario(guide, name string, mark []string) (*Scenario, error) {
	m, ok := machines[mark[0]]
	if !ok {
		return nil, fmt.Errorf("test %s: no machine %q", name, mark[0])
	}
	s := &Scenario{Guide: guide, Name: name, Position: m.position, Kernel: mark[2] != ""}
	if mark[1] != "" {
		s.Position.Families = []Family{IPv4}
	}
	return s, nil
}

// add adds a block; only the first has to name the machine.
func (s *Scenario) add(language, body, machineName string) error {
	if machineName == "" {
		machineName = s.Position.Name
	}
	body = strings.NewReplacer(machines[machineName].names...).Replace(body)
	switch language {
	case "nft":
		s.NFT += body
	case "iptables":
		s.IPTables += body
	case "yaml":
		s.YAML += body
	case "sh":
		s.Shell += body
	case "tayga":
		s.Tayga += body
	default:
		return fmt.Errorf("test %s: no such blocks: %s", s.Name, language)
	}
	return nil
}

// load loads the ruleset of the guide on its machine.
func (s *Scenario) load(t testing.TB, h *Host) {
	t.Helper()
	if s.NFT != "" {
		h.LoadRules(t, s.NFT)
	}
	if s.IPTables == "" {
		return
	}
	needPrograms(t, "iptables-nft-restore")
	if out, err := h.Run(startTimeout, Command{Args: []string{"iptables-nft-restore"}, Stdin: s.IPTables}); err != nil {
		t.Fatalf("iptables-restore: %v\n%s\n%s", err, out, s.IPTables)
	}
}
