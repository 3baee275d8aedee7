// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"fmt"
	"io"
	"strings"
)

// A Step is one step of the test.
type Step struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Skipped says why the step was skipped; it counts as OK.
	Skipped string   `json:"skipped,omitempty"`
	Error   string   `json:"error,omitempty"`
	Log     []string `json:"log,omitempty"` // the daemon's last lines, after a failure
	Took    float64  `json:"seconds"`
}

// A Report is the result of all steps, in their order. The last one may have
// failed so that the rest was skipped.
type Report struct {
	Steps []Step `json:"steps"`
}

// Fine reports whether every step succeeded.
func (r *Report) Fine() bool {
	for _, s := range r.Steps {
		if !s.OK {
			return false
		}
	}
	return len(r.Steps) > 0
}

// WriteText writes r as text.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	bad, skipped := 0, 0
	for _, s := range r.Steps {
		if s.Skipped != "" {
			skipped++
			fmt.Fprintf(&b, "skip  %s: %s\n", s.Name, s.Skipped)
			continue
		}
		if s.OK {
			fmt.Fprintf(&b, "ok    %s\n", s.Name)
			continue
		}
		bad++
		fmt.Fprintf(&b, "FAIL  %s\n      %s\n", s.Name, s.Error)
		for _, l := range s.Log {
			fmt.Fprintf(&b, "      | %s\n", l)
		}
	}
	fmt.Fprintf(&b, "\n%d steps, %d failed", len(r.Steps), bad)
	if skipped > 0 {
		fmt.Fprintf(&b, ", %d skipped", skipped)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}
