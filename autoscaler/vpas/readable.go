// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vpas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/api/resource"
)

// longest is how many characters a quantity has at most.
const longest = 30

var (
	// suspicious finds the strings that may be quantities which can not be read; nearly no object has one.
	suspicious = regexp.MustCompile(`"[+-]?(?:[0-9.]+[eE][+-]?[0-9.]+|[0-9.]{25})`)
	// numeric is what the CRD accepts as a quantity, and more.
	numeric = regexp.MustCompile(`^[+-]?[0-9.]+(?:[eE][+-]?[0-9.]+|[a-zA-Z]{0,2})$`)
	// tooFar is an exponent that is not one or two digits.
	tooFar = regexp.MustCompile(`[eE][+-]?(?:[0-9]{3}|[0-9]*\.)`)
)

// readable is an object or a list in JSON without the quantities that can not be read.
func readable(data []byte, tell func(Ignored)) []byte {
	if !suspicious.Match(data) {
		return data
	}
	read := json.NewDecoder(bytes.NewReader(data))
	read.UseNumber()
	var object map[string]any
	if err := read.Decode(&object); err != nil {
		return data // who decodes it says what is wrong
	}
	ignored := false
	say := func(i Ignored) {
		ignored = true
		tell(i)
	}
	clean(object, say)
	if items, ok := object["items"].([]any); ok {
		for _, item := range items {
			if one, ok := item.(map[string]any); ok {
				clean(one, say)
			}
		}
	}
	if !ignored {
		return data
	}
	out, err := json.Marshal(object)
	if err != nil {
		return data
	}
	return out
}

// clean takes them out of one VPA. All the quantities of a VPA are in these three.
func clean(object map[string]any, tell func(Ignored)) {
	meta, _ := object["metadata"].(map[string]any)
	of := Ignored{Namespace: fmt.Sprint(meta["namespace"]), Name: fmt.Sprint(meta["name"])}
	for _, path := range [][2]string{{"spec", "resourcePolicy"}, {"spec", "startupBoost"}, {"status", "recommendation"}} {
		if part, ok := object[path[0]].(map[string]any); ok {
			of.Field = path[0] + "." + path[1]
			of.within(part[path[1]], tell)
		}
	}
}

func (i Ignored) within(value any, tell func(Ignored)) {
	switch value := value.(type) {
	case []any:
		for n, item := range value {
			next := i
			next.Field += fmt.Sprintf("[%d]", n)
			next.within(item, tell)
		}
	case map[string]any:
		for key, item := range value {
			next := i
			next.Field += "." + key
			text, ok := item.(string)
			switch {
			case !ok:
				next.within(item, tell)
			case key != "containerName" && unreadable(text):
				delete(value, key)
				next.Value = text[:min(len(text), longest)]
				tell(next)
			}
		}
	}
}

// unreadable tells of a number that is no quantity, or whose parsing may take long.
func unreadable(text string) bool {
	if !numeric.MatchString(text) {
		return false
	}
	if len(text) > longest || tooFar.MatchString(text) {
		return true
	}
	_, err := resource.ParseQuantity(text)
	return err != nil
}
