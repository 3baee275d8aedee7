// SPDX-License-Identifier: Apache-2.0

// Package blockfile parses files of statements and blocks in braces, such as
// those of conntrackd and keepalived: a statement is the words of a line, and a
// block has the words before its brace.
package blockfile

import (
	"fmt"
	"strings"
)

// maxDepth is how deep blocks may be nested.
const maxDepth = 32

// A Block is a block, or a statement, which has no Blocks. Words are never empty
// except in the block that is the file.
type Block struct {
	Words  []string
	Line   int
	Blocks []*Block
}

// Parse parses a file. Each character of comments begins a comment, unless it is
// in quotes or in a word.
func Parse(text, comments string) (*Block, error) {
	file := &Block{}
	open := []*Block{file}
	for n, line := range strings.Split(text, "\n") {
		var words []string
		end := func() {
			if top := open[len(open)-1]; len(words) > 0 {
				top.Blocks = append(top.Blocks, &Block{Words: words, Line: n + 1})
			}
			words = nil
		}
		list, err := wordsOf(line, comments)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		for _, w := range list {
			switch {
			case w.brace == '{':
				top := open[len(open)-1]
				if len(words) == 0 { // the words may be on the line before
					if len(top.Blocks) == 0 || len(top.Blocks[len(top.Blocks)-1].Blocks) > 0 {
						return nil, fmt.Errorf("line %d: a block without a name", n+1)
					}
				} else {
					end()
				}
				if len(open) > maxDepth {
					return nil, fmt.Errorf("line %d: blocks %d deep", n+1, len(open))
				}
				open = append(open, top.Blocks[len(top.Blocks)-1])
			case w.brace == '}':
				end()
				if len(open) == 1 {
					return nil, fmt.Errorf("line %d: a block ends that has not begun", n+1)
				}
				open = open[:len(open)-1]
			default:
				words = append(words, w.text)
			}
		}
		end()
	}
	if len(open) > 1 {
		return nil, fmt.Errorf("line %d: the block does not end", open[len(open)-1].Line)
	}
	return file, nil
}

// word is a word of a line, or a brace.
type word struct {
	text  string
	brace byte
}

func wordsOf(line, comments string) (list []word, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		switch c := line[0]; {
		case strings.IndexByte(comments, c) >= 0:
			return list, nil
		case c == '{' || c == '}':
			list = append(list, word{brace: c})
			line = line[1:]
		case c == '"' || c == '\'':
			text, rest, ok := strings.Cut(line[1:], string(c))
			if !ok {
				return nil, fmt.Errorf("a quotation does not end")
			}
			list = append(list, word{text: text})
			line = rest
		default:
			n := strings.IndexAny(line, " \t\r{}\"")
			if n < 0 {
				n = len(line)
			}
			list = append(list, word{text: line[:n]})
			line = line[n:]
		}
	}
	return list, nil
}

// All returns the blocks and statements at the end of a path of names, in any
// block on the way. Names are the first words, in any case.
func (b *Block) All(path ...string) []*Block {
	list := []*Block{b}
	for _, name := range path {
		var next []*Block
		for _, x := range list {
			for _, y := range x.Blocks {
				if strings.EqualFold(y.Words[0], name) {
					next = append(next, y)
				}
			}
		}
		list = next
	}
	return list
}

// Arg returns the n-th word after the name, or "".
func (b *Block) Arg(n int) string {
	if n+1 >= len(b.Words) {
		return ""
	}
	return b.Words[n+1]
}

// Value returns the first word after the name of the last statement at the end of
// a path, which is the one that counts, or "".
func (b *Block) Value(path ...string) string {
	list := b.All(path...)
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1].Arg(0)
}
