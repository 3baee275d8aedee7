// SPDX-License-Identifier: Apache-2.0

package succession

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// full is a record in which every field has a value of its own, so that a field
// that is not encoded shows.
func full(t testing.TB) Record {
	r := record()
	fill(t, reflect.ValueOf(&r).Elem())
	r.Left = LeftForeign
	return r
}

// fill gives every zero field below v a different value.
func fill(t testing.TB, v reflect.Value) {
	switch v.Interface().(type) {
	case netip.AddrPort, netip.Addr, Left:
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		}
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(t, v.Elem())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("EPSV ALL")
	case reflect.Int32, reflect.Int64:
		if v.IsZero() {
			v.SetInt(-3)
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.IsZero() {
			v.SetUint(77)
		}
	default:
		t.Fatalf("a field of type %v", v.Type())
	}
}

// TestBytes: encoding and decoding preserve a record, whatever it has; also with
// a newer daemon's field in each of its lists.
func TestBytes(t *testing.T) {
	idle := Record{Original: record().Original, Reply: record().Reply, Engine: &ftpalg.State{Waiting: []string{"", "NOOP"}}}
	for name, want := range map[string]Record{"all": record(), "every field": full(t), "idle": idle} {
		b := AppendRecord(nil, &want)
		got, err := ParseRecord(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, %v\nwant %+v", name, got, err, want)
		}
		newer := append([]byte{200, 3, 1, 2, 3}, b...)
		if got, err := ParseRecord(newer); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s, newer: read %+v, %v", name, got, err)
		}
		for i := range b {
			if got, err := ParseRecord(b[:i]); err == nil && reflect.DeepEqual(got, want) {
				t.Errorf("%s: %d of %d bytes are enough", name, i, len(b))
			}
		}
		original, reply, err := ParseTuples(newer)
		if err != nil || original != expect.Tuple(want.Original) || reply != expect.Tuple(want.Reply) {
			t.Errorf("%s: read %v, %v, %v", name, original, reply, err)
		}
		t.Logf("%s: %d bytes", name, len(b))
	}
}

func FuzzRecord(f *testing.F) {
	r := full(f)
	f.Add(AppendRecord(nil, &r))
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		original, reply, e := ParseTuples(b)
		if err != nil {
			return
		}
		if e != nil || original != expect.Tuple(r.Original) || reply != expect.Tuple(r.Reply) {
			t.Fatalf("its tuples are %v, %v, %v", original, reply, e)
		}
		again, err := ParseRecord(AppendRecord(nil, &r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v\nbecomes %+v, %v", r, again, err)
		}
	})
}
