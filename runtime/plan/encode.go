package plan

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strconv"
)

// Encode returns the fields of op that are part of its key, in the order of
// the struct. Fields may be strings, booleans, integers, json.RawMessage,
// Digest, *Input, []string, []int, []*Input, map[string]string, or structs of
// these with tags of their own. A zero field is left out, so that a field
// added later leaves the keys of older definitions alone.
func Encode(op Op) (Preimage, error) {
	v := reflect.ValueOf(op)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("encode %T: not a pointer to a struct", op)
	}
	p := Preimage{{Name: "op", Value: op.Kind()}}
	return encodeStruct(p, "", v.Elem())
}

func encodeStruct(p Preimage, prefix string, v reflect.Value) (Preimage, error) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("key")
		if name == "" {
			return nil, fmt.Errorf("encode %s.%s: no key tag says whether it is part of the key", t, f.Name)
		}
		if name == "-" || v.Field(i).IsZero() {
			continue
		}
		var err error
		if p, err = encodeValue(p, prefix+name, v.Field(i)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func encodeValue(p Preimage, name string, v reflect.Value) (Preimage, error) {
	add := func(s string) (Preimage, error) { return append(p, Field{name, s}), nil }
	switch x := v.Interface().(type) {
	case json.RawMessage:
		return add(string(x))
	case *Input:
		if x.Digest == "" {
			return nil, fmt.Errorf("encode %s: input %s was not hashed", name, x.Path)
		}
		return add(string(x.Digest))
	case map[string]string:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			p = append(p, Field{name + "." + k, x[k]})
		}
		return p, nil
	}
	switch v.Kind() {
	case reflect.String:
		return add(v.String())
	case reflect.Bool:
		return add(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int64, reflect.Int32:
		return add(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint32, reflect.Uint64:
		return add(strconv.FormatUint(v.Uint(), 10))
	case reflect.Slice:
		// The count keeps a list of lists apart from one longer list.
		p = append(p, Field{name + "#", strconv.Itoa(v.Len())})
		for i := range v.Len() {
			var err error
			if p, err = encodeValue(p, fmt.Sprintf("%s[%d]", name, i), v.Index(i)); err != nil {
				return nil, err
			}
		}
		return p, nil
	case reflect.Struct:
		return encodeStruct(p, name+".", v)
	}
	return nil, fmt.Errorf("encode %s: type %s cannot be part of a key", name, v.Type())
}
