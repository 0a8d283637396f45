// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
)

// ClaimSlot says which claim of which slot a PersistentVolumeClaim is.
type ClaimSlot struct {
	Template string
	Slot     Slot
}

// ClaimName is the name the StatefulSet controller gives a slot's claim made
// from a template.
func ClaimName(template string, slot Slot) string {
	return template + "-" + slot.Set.Name + "-" + strconv.Itoa(slot.Ordinal)
}

// Templates lists the names of a set's volumeClaimTemplates, in its order.
func Templates(set *appsv1.StatefulSet) []string {
	templates := make([]string, len(set.Spec.VolumeClaimTemplates))
	for i := range set.Spec.VolumeClaimTemplates {
		templates[i] = set.Spec.VolumeClaimTemplates[i].Name
	}
	return templates
}

// SlotsOfClaim returns the slots a claim may belong to. A name alone does not
// tell: data-db-2-0 is claim data of db-2 or claim data-db of a set called 2.
// So every way to split it is put to templatesOf, which returns the templates
// of a set that exists, or nothing.
func SlotsOfClaim(namespace, name string, templatesOf func(SetKey) []string) []ClaimSlot {
	last := strings.LastIndexByte(name, '-')
	if last < 0 {
		return nil
	}
	ordinal, ok := parseOrdinal(name[last+1:])
	if !ok {
		return nil
	}
	var found []ClaimSlot
	stem := name[:last]
	for i := range len(stem) {
		if stem[i] != '-' {
			continue
		}
		template, set := stem[:i], SetKey{Namespace: namespace, Name: stem[i+1:]}
		if slices.Contains(templatesOf(set), template) {
			found = append(found, ClaimSlot{Template: template, Slot: Slot{Set: set, Ordinal: ordinal}})
		}
	}
	return found
}
