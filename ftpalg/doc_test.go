// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"os"
	"strings"
	"testing"
)

// TestDocument: docs/protocol.md explains every check.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for _, name := range checkNames {
		if !strings.Contains(doc, "| `"+name+"` |") {
			t.Errorf("check %q is not explained", name)
		}
	}
}
