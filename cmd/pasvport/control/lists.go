// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// WithLists returns a copy of a struct whose lists and maps are empty where they
// are nil, unless they are left out then: JSON has [] and {} for them, not null.
func WithLists[T any](v T) T {
	s := reflect.ValueOf(&v).Elem()
	for i := range s.NumField() {
		f := s.Field(i)
		if omitted := slices.Contains(strings.Split(s.Type().Field(i).Tag.Get("json"), ","), "omitempty"); omitted || !f.CanSet() {
			continue
		}
		switch {
		case f.Kind() == reflect.Slice && f.IsNil():
			f.Set(reflect.MakeSlice(f.Type(), 0, 0))
		case f.Kind() == reflect.Map && f.IsNil():
			f.Set(reflect.MakeMap(f.Type()))
		}
	}
	return v
}

// MarshalJSON implements json.Marshaler.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	return json.Marshal(WithLists(plain(s)))
}

// MarshalJSON implements json.Marshaler.
func (s Server) MarshalJSON() ([]byte, error) {
	type plain Server
	return json.Marshal(WithLists(plain(s)))
}
