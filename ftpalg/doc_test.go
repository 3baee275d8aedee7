// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"os"
	"strings"
	"testing"
)

// docs/protocol.md has every reason, every check and every oddity.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for r := range NumReasons {
		if r.String() == "" || !strings.Contains(doc, "| `"+r.String()+"` |") {
			t.Errorf("reason %d, %q, is not explained", r, r)
		}
	}
	for _, name := range checkNames {
		if !strings.Contains(doc, "| `"+name+"` |") {
			t.Errorf("check %q is not explained", name)
		}
	}
}
