// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readFile returns the entries of a configuration file. Without a name it is the
// default one, which need not exist.
func readFile(name string, named bool) ([]entry, error) {
	if !named {
		name = DefaultFile
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, fmt.Errorf("--config %q: %w, want a readable file", name, err)
	}
	return parseFile(name, text)
}

// LoadFile returns the defaults, changed by a file that must exist, and
// checked: what Flags.Load returns with --config and no other flag.
func LoadFile(name string) (Config, error) {
	entries, err := readFile(name, true)
	if err != nil {
		return Config{}, err
	}
	return build(entries)
}

// parseFile reads one YAML document, a mapping of settings. It works on nodes
// because they alone know their line and column.
func parseFile(name string, text []byte) ([]entry, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil // nothing but comments
	}
	if err == nil {
		err = d.Decode(&more)
	}
	if err == nil {
		return nil, fmt.Errorf("%s:%d:%d: a second document, want one", name, more.Line, more.Column)
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %s", name, oneLine(err))
	}
	return parseRoot(name, doc.Content[0])
}

func parseRoot(name string, root *yaml.Node) ([]entry, error) {
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d:%d: want lines of the form \"key: value\"", name, root.Line, root.Column)
	}
	return parseMapping(name, root, settings, "the name of a flag of \"pasvport run\", "+commandsKey+", "+filesKey+", "+policiesKey+" or "+virtualServersKey)
}

// parseMapping reads the keys of a mapping, which are the known ones.
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
	if k == yaml.SequenceNode {
		return "list"
	}
	return "mapping"
}

// oneLine joins the lines of yaml's collected errors.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
