// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestNoNull: a list that is empty is an empty list.
func TestNoNull(t *testing.T) {
	for _, v := range []any{Status{}, &Status{}, Server{}, []Server{{}}, Session{Offer: &Offer{}}, Limits{}} {
		text, err := json.Marshal(v)
		if err != nil || strings.Contains(string(text), "null") {
			t.Errorf("%T: %s, %v", v, text, err)
		}
	}
}
