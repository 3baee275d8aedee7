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
	text, err := readAll(name)
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

// maxFile is the largest size of a configuration file in bytes. A device may have no end.
const maxFile = 16 << 20

var errLong = fmt.Errorf("more than %d MB", maxFile>>20)

func readAll(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errLong
	}
	return text, err
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

// parseFile parses one YAML document, a mapping of settings. It works on nodes
// because only they know their line and column.
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
		return nil, fmt.Errorf("%s:%s", name, placed(err))
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

// placed returns the text of an error of yaml after its line, which yaml leaves
// out for the first one.
func placed(err error) string {
	text := strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "yaml: ")
	line := "1"
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		line, text, _ = strings.Cut(rest, ": ")
	}
	return line + ": " + text
}
