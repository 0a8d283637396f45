// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// LastNode is the annotation on a claim of a slot that remembers where the
// slot's pod was last: a Note in JSON.
const LastNode = "berth.dev/last-node"

// Note is what a claim remembers of the slot it belongs to. It outlives the
// pod, the scheduler and its leader.
type Note struct {
	// Node is where the slot's pod was bound last.
	Node string `json:"node"`
	// PodUID is the UID of that pod. It is empty where the slot's room was given
	// up since, or its set did not want it: nothing is kept there.
	PodUID types.UID `json:"podUID,omitempty"`
	// Priority is the priority of that pod.
	Priority int32 `json:"priority,omitempty"`
	// Requests are what that pod asked of the node, with overhead and as last
	// resized.
	Requests corev1.ResourceList `json:"requests,omitempty"`
	// HoldStart is since when room is kept for the slot. It is not set while the
	// pod is there to stay.
	HoldStart *metav1.Time `json:"holdStart,omitempty"`
}

// ParseNote reads a note. Fields that it does not know are of a later version
// and are left out.
func ParseNote(text string) (Note, error) {
	var n Note
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return Note{}, fmt.Errorf("annotation %s: %w", LastNode, err)
	}
	if n.Node == "" {
		return Note{}, errors.New("annotation " + LastNode + ": node is missing")
	}
	return n, nil
}

// String is the note as it stands in the annotation: equal notes have equal texts.
func (n Note) String() string {
	if n.HoldStart != nil {
		whole := metav1.NewTime(n.HoldStart.UTC().Truncate(1e9))
		n.HoldStart = &whole
	}
	text, err := json.Marshal(n)
	if err != nil { // a quantity, a time and strings have no such value
		return ""
	}
	return string(text)
}

// NextNote returns what a claim is to remember of a slot now, given what it
// remembers and where the slot's last pod is or was. It is false while there is
// nothing to remember: the slot never had a node.
func NextNote(was Note, known bool, berth Berth) (Note, bool) {
	switch {
	case berth.Node == "":
		was.PodUID, was.HoldStart = "", nil
		return was, known
	case berth.absent() && berth.Hold == nil:
		return Note{Node: berth.Node, Priority: berth.Priority, Requests: berth.Needs.Requests}, true
	}
	is := Note{Node: berth.Node, PodUID: berth.UID, Priority: berth.Priority, Requests: berth.Needs.Requests}
	if berth.Hold != nil {
		since := metav1.NewTime(berth.Hold.Since)
		is.HoldStart = &since
	}
	return is, true
}
