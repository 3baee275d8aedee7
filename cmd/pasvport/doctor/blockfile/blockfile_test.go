// SPDX-License-Identifier: Apache-2.0

package blockfile

import (
	"slices"
	"strings"
	"testing"
)

const sample = `# a comment
Sync {
	Mode FTFW {
		DisableExternalCache Off # at the end
		CommitTimeout 1800
	}
	Options {
		ExpectationSync { ftp sane }
		TCPWindowTracking On
	}
}
Sync
{
	UDP { Interface "sync 0"
	}
	Mode ALARM{ }
}
! another one
notify_backup "/etc/x backup" root
`

// TestParse: statements, blocks in one line and in several, quotes, comments.
func TestParse(t *testing.T) {
	f, err := Parse(sample, "#!")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{
		{"sync mode disableexternalcache", "Off"}, {"Sync Mode CommitTimeout", "1800"}, {"Sync Mode", "ALARM"}, {"Sync UDP Interface", "sync 0"},
		{"Sync Options TCPWindowTracking", "On"}, {"notify_backup", "/etc/x backup"}, {"Sync Nothing", ""}, {"Nothing at all", ""}, {"Sync Options ExpectationSync", ""},
	} {
		if got := f.Value(strings.Fields(tt.path)...); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.path, got, tt.want)
		}
	}
	var names []string
	for _, b := range f.All("Sync", "Options", "ExpectationSync") {
		for _, x := range b.Blocks {
			names = append(names, x.Words...)
		}
	}
	if !slices.Equal(names, []string{"ftp", "sane"}) {
		t.Errorf("names are %q", names)
	}
	if x := f.All("notify_backup"); len(x) != 1 || x[0].Line != 19 || x[0].Arg(1) != "root" || x[0].Arg(2) != "" {
		t.Errorf("%+v", x[0])
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a {\nb\n": "line 1: the block does not end", "a\n}\n": "line 2: a block ends", "{\n}": "line 1: a block without a name",
		"a { }\n{ }": "", "a {\nb {}\n}\n{\n}\n": "line 4: a block without", "x \"y\n": "line 1: a quotation",
		strings.Repeat("a {", 100): "line 1: blocks", "# {\n": "",
	} {
		if _, err := Parse(text, "#"); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
}

// FuzzParse: whatever a file contains, it is parsed or refused, and every block
// has a name.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("a{b{c}}\n'd' \"e\"{}")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse(text, "#!")
		if err != nil {
			return
		}
		var look func(b *Block, depth int)
		look = func(b *Block, depth int) {
			for _, x := range b.Blocks {
				if len(x.Words) == 0 || x.Line < 1 || depth > maxDepth {
					t.Fatalf("%+v at depth %d", x, depth)
				}
				look(x, depth+1)
			}
		}
		look(file, 0)
		file.Value("a", "b")
	})
}
