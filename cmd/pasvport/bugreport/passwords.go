// SPDX-License-Identifier: Apache-2.0

package bugreport

import (
	"bytes"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// removed replaces a password.
const removed = "REMOVED"

// withoutPasswords returns a configuration file without its passwords. A file
// that has some is rewritten, as only its parser knows where a value ends.
func withoutPasswords(text []byte) []byte {
	var root yaml.Node
	if yaml.Unmarshal(text, &root) == nil && removePasswords(&root) {
		var b bytes.Buffer
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if e.Encode(&root) == nil && e.Close() == nil {
			text = b.Bytes()
		}
	}
	return cutPasswords(text) // in comments, and in what is not YAML
}

// passwordKey matches a line up to the value of a password.
var passwordKey = regexp.MustCompile(`(?i)^.*?password["']?\s*:`)

// cutPasswords cuts off what follows the word in a line, and the lines below it
// that may belong to the value because they are indented more, or are comments if
// the line is one.
func cutPasswords(text []byte) []byte {
	var out []byte
	var depth int
	inside, comment := false, false
	for line := range bytes.Lines(text) {
		bare := bytes.TrimLeft(line, " \t#")
		is := bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#"))
		if inside && (len(bytes.TrimSpace(line)) == 0 || is == comment && len(line)-len(bare) > depth) {
			continue
		}
		key := passwordKey.Find(line)
		if inside = key != nil && !bytes.HasPrefix(bytes.TrimSpace(line[len(key):]), []byte(removed)); inside {
			depth, comment = len(line)-len(bare), is
			line = append(bytes.Clone(key), " "+removed+"\n"...)
		}
		out = append(out, line...)
	}
	return out
}

// removePasswords reports whether there were any.
func removePasswords(n *yaml.Node) (found bool) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && strings.EqualFold(c.Value, "password") {
			v := n.Content[i+1]
			if v.Kind == yaml.AliasNode {
				v.Alias.SetString(removed)
			}
			*v = yaml.Node{Kind: yaml.ScalarNode, Value: removed, Anchor: v.Anchor, LineComment: v.LineComment}
			found = true
		}
	}
	for _, c := range n.Content {
		found = removePasswords(c) || found
	}
	return found
}
