// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// parseMapping parses the keys of a mapping, which must be known.
func parseMapping(name string, root *yaml.Node, known keys, want string) ([]entry, error) {
	var entries []entry
	lines := map[string]int{}
	for i := 0; i < len(root.Content); i += 2 {
		key, val := root.Content[i], root.Content[i+1]
		s, ok := known.lookup(key.Value)
		if !ok || key.Kind != yaml.ScalarNode {
			if near := Nearest(key.Value, known.names()); near != "" {
				want += fmt.Sprintf("; did you mean %q?", near)
			}
			return nil, fmt.Errorf("%s:%d:%d: unknown key %q, want %s", name, key.Line, key.Column, key.Value, want)
		}
		if line, twice := lines[s.name]; twice {
			return nil, fmt.Errorf("%s:%d:%d: key %q again, it is in line %d already", name, key.Line, key.Column, s.name, line)
		}
		lines[s.name] = key.Line
		e, err := entry{setting: s}, error(nil)
		if s.parse != nil {
			e.maps, err = s.parse(name, val, known)
		} else {
			e, err = parseEntry(name, s, val)
		}
		if err != nil {
			return nil, err
		}
		e.at = value{file: name, line: key.Line, column: key.Column}
		if s.some && len(e.values) == 0 {
			return nil, e.at.wrong(fmt.Errorf("%s: the list is empty, want %s", s.name, s.want))
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseEntry reads a scalar, or the scalars of a list.
func parseEntry(name string, s *setting, node *yaml.Node) (entry, error) {
	e := entry{setting: s}
	node = follow(node)
	nodes := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode && s.many {
		nodes = node.Content
	}
	for _, n := range nodes {
		at := n
		n = follow(n)
		if n.Kind != yaml.ScalarNode {
			return e, fmt.Errorf("%s:%d:%d: %s is a %s, want %s", name, at.Line, at.Column, s.name, kindText(n.Kind), s.want)
		}
		v := value{text: n.Value, file: name, line: at.Line, column: at.Column}
		if n.Tag == "!!null" {
			v.text = "" // "key:" and "key: ~"
		}
		e.values = append(e.values, v)
	}
	return e, nil
}

// follow returns the node that an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func kindText(k yaml.Kind) string {
	switch k {
	case yaml.SequenceNode:
		return "list"
	case yaml.ScalarNode:
		return "single value"
	}
	return "mapping"
}

// addMaps adds the mappings of an entry to c.
func (e entry) addMaps(c *Config, root keys) error {
	if e.setting.reset != nil {
		e.setting.reset(c)
	}
	for _, m := range e.maps {
		if err := e.setting.addMapping(c, m, root); err != nil {
			return err
		}
	}
	return nil
}

// apply applies the values of an entry to c.
func (e entry) apply(c *Config) error {
	if e.setting.reset != nil {
		e.setting.reset(c)
	}
	for _, v := range e.values {
		if err := e.setting.add(c, v.text); err != nil {
			want := e.setting.want
			var special *wantError
			if errors.As(err, &special) {
				want = special.want
			}
			return v.explain(e.setting, want)
		}
	}
	return nil
}

// The keys of the file that are mappings, not flags.
const (
	policiesKey = "policies"
	commandsKey = "commands"
	filesKey    = "files"
)

// parseList reads a list of mappings, with the known keys.
func parseList(name, key string, list *yaml.Node, known keys) ([]mapping, error) {
	list = follow(list)
	if list.Kind == yaml.ScalarNode && list.Tag == "!!null" {
		return nil, nil
	}
	if list.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("%s:%d:%d: %s is a %s, want a list", name, list.Line, list.Column, key, kindText(list.Kind))
	}
	var all []mapping
	for _, n := range list.Content {
		m, err := parseOne(name, key, n, known)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// parseOne reads one mapping.
func parseOne(name, key string, n *yaml.Node, known keys) (mapping, error) {
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		return mapping{}, fmt.Errorf("%s:%d:%d: %s: want lines of the form \"key: value\"", name, n.Line, n.Column, key)
	}
	entries, err := parseMapping(name, n, known, orList(known.names()))
	return mapping{value{file: name, line: n.Line, column: n.Column}, entries}, err
}
