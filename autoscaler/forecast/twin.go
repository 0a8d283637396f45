// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Twin returns the missing pod of a slot as the operator will make it: a copy
// of the pod of another slot of its set, with one ordinal put in the place of
// the other in names and labels. Claims are those of the missing slot, which
// exist, own those of the slot that is copied. It returns nothing, and why,
// where a claim of the one has no counterpart.
func Twin(of *v1.Pod, from, to int, own, claims []string) (*v1.Pod, string) {
	pod := of.DeepCopy()
	pod.Name = renumber(of.Name, from, to)
	if pod.Name == of.Name {
		return nil, fmt.Sprintf("the name of %s, which could be copied, does not tell its ordinal %d", of.Name, from)
	}
	if pod.Spec.Hostname == of.Name {
		pod.Spec.Hostname = pod.Name
	}
	for key, value := range pod.Labels {
		switch value {
		case of.Name:
			pod.Labels[key] = pod.Name
		case strconv.Itoa(from):
			pod.Labels[key] = strconv.Itoa(to)
		}
	}
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil || !slices.Contains(own, source.ClaimName) {
			continue
		}
		name := renumber(source.ClaimName, from, to)
		if !slices.Contains(claims, name) {
			return nil, fmt.Sprintf("%s has the claim %s, and there is no %s", of.Name, source.ClaimName, name)
		}
		source.ClaimName = name
	}
	return pod, ""
}

// renumber puts one ordinal in the place of another: wherever it stands between
// dashes, as in data-0-kafka-0, for operators write it more than once.
func renumber(name string, from, to int) string {
	parts := strings.Split(name, "-")
	for i, part := range parts {
		if part == strconv.Itoa(from) {
			parts[i] = strconv.Itoa(to)
		}
	}
	return strings.Join(parts, "-")
}
