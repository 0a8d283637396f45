// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
	// PodUID is the UID of that pod.
	PodUID types.UID `json:"podUID"`
	// Requests are what that pod asked of the node, with overhead and as last
	// resized.
	Requests corev1.ResourceList `json:"requests,omitempty"`
	// HoldStart is when that pod began to leave while its set still wanted the
	// slot. It is not set while the pod is there.
	HoldStart *metav1.Time `json:"holdStart,omitempty"`
	// GivenUp tells that nobody waits for the slot to return: its set gave it
	// up, even if it wants it again by now. The next pod ends that.
	GivenUp bool `json:"givenUp,omitempty"`
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
// remembers, the slot's pod (nil if there is none) with its requests, and
// whether the set wants the slot. It is false while there is nothing to
// remember: the slot never had a node.
func NextNote(was Note, known bool, pod *corev1.Pod, requests corev1.ResourceList, wanted bool, now time.Time) (Note, bool) {
	away := true
	if pod != nil && pod.Spec.NodeName != "" {
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if away = ended || pod.DeletionTimestamp != nil; !away || !known || was.PodUID != pod.UID {
			was, known = Note{Node: pod.Spec.NodeName, PodUID: pod.UID, Requests: requests}, true
		}
	}
	switch {
	case !known:
		return Note{}, false
	case !away:
		was.HoldStart, was.GivenUp = nil, false
	case !wanted:
		was.HoldStart, was.GivenUp = nil, true
	case was.HoldStart == nil && !was.GivenUp:
		start := metav1.NewTime(now)
		was.HoldStart = &start
	}
	return was, true
}
