// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	stdjson "encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/json"
)

// misread returns the values that do not fit their fields. Decoders stop at the first such value, and those of
// durations and quantities do not know whose value it is; so each value is decoded alone, where its field is known.
func misread(config []byte) field.ErrorList {
	return misreadValue(nil, reflect.TypeFor[Autoscaler](), config)
}

func misreadValue(path *field.Path, t reflect.Type, value stdjson.RawMessage) field.ErrorList {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if string(value) == "null" {
		return nil
	}
	if _, alone := reflect.New(t).Interface().(stdjson.Unmarshaler); !alone {
		switch t.Kind() {
		case reflect.Struct, reflect.Map:
			return misreadObject(path, t, value)
		case reflect.Slice:
			return misreadList(path, t, value)
		}
	}
	if json.UnmarshalCaseSensitivePreserveInts(value, reflect.New(t).Interface()) == nil {
		return nil
	}
	return misfit(path, value, allowed(t))
}

func misreadObject(path *field.Path, t reflect.Type, value stdjson.RawMessage) field.ErrorList {
	var entries map[string]stdjson.RawMessage
	if stdjson.Unmarshal(value, &entries) != nil {
		return misfit(path, value, "must be a map, of fields and their values")
	}
	var errs field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if t.Kind() == reflect.Map {
			errs = append(errs, misreadValue(path.Key(key), t.Elem(), entries[key])...)
		} else if f, known := fieldOf(t, key); known {
			errs = append(errs, misreadValue(path.Child(key), f, entries[key])...)
		} else {
			errs = append(errs, field.Forbidden(path.Child(key), "unknown field"))
		}
	}
	return errs
}

func misreadList(path *field.Path, t reflect.Type, value stdjson.RawMessage) field.ErrorList {
	var items []stdjson.RawMessage
	if stdjson.Unmarshal(value, &items) != nil {
		return misfit(path, value, "must be a list")
	}
	var errs field.ErrorList
	for i, item := range items {
		errs = append(errs, misreadValue(path.Index(i), t.Elem(), item)...)
	}
	return errs
}

// fieldOf returns the type of the field with that name in a file.
func fieldOf(t reflect.Type, name string) (reflect.Type, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if tagged, _, _ := strings.Cut(f.Tag.Get("json"), ","); tagged == name && f.IsExported() && !f.Anonymous {
			return f.Type, true
		}
	}
	return nil, false
}

// allowed says what values of a type look like.
func allowed(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[metav1.Duration]():
		return "must be a duration such as 90s, 10m or 1h30m"
	case reflect.TypeFor[metav1.Time]():
		return "must be a time such as 2006-01-02T15:04:05Z"
	case reflect.TypeFor[resource.Quantity]():
		return "must be a quantity such as 500m, 4 or 16Gi"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "must be true or false"
	case reflect.String:
		return "must be a string; put it in quotes"
	case reflect.Float32, reflect.Float64:
		return "must be a number such as 0.5"
	case reflect.Int32:
		return "must be a whole number of 32 bits"
	}
	return "must be a value of type " + t.String()
}

func misfit(path *field.Path, value stdjson.RawMessage, allowed string) field.ErrorList {
	var shown any = value // as the file has it
	if most := 80; len(value) > most {
		shown = strings.ToValidUTF8(string(value[:most]), "") + "…"
	}
	return field.ErrorList{field.Invalid(cmp.Or(path, field.NewPath(Kind)), shown, allowed)}
}
