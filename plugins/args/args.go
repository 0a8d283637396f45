// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package args reads the arguments of Berth's plugins from the scheduler's
// configuration. A field that the plugin does not know is refused by name:
// upstream's own decoding of out-of-tree arguments ignores it, and a typing
// mistake in a policy would go unseen until a zone is lost.
package args

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// DecodeStrict decodes the args of a plugin, JSON or YAML, into a struct.
// Nothing given leaves the struct as it is. Fields apiVersion and kind may be
// there and mean nothing: the plugin's name says what the args are.
func DecodeStrict(obj runtime.Object, into any) error {
	if obj == nil {
		return nil
	}
	given, ok := obj.(*runtime.Unknown)
	if !ok {
		return fmt.Errorf("want plugin args as written in the configuration, got %T", obj)
	}
	raw, err := yaml.YAMLToJSONStrict(given.Raw) // JSON is YAML too
	if err != nil {
		return fmt.Errorf("plugin args: %w", err)
	}
	fields := map[string]any{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &fields); err != nil {
		return fmt.Errorf("plugin args must be an object: %w", err)
	}
	delete(fields, "apiVersion")
	delete(fields, "kind")
	if raw, err = json.Marshal(fields); err != nil {
		return fmt.Errorf("plugin args: %w", err)
	}
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err = errors.Join(append(strict, err)...); err != nil {
		return fmt.Errorf("plugin args: %w", err)
	}
	return nil
}
