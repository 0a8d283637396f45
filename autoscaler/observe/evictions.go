// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// What a kubelet says of an eviction in the annotations of its event: pkg/kubelet/eviction/helpers.go.
const (
	evicted         = "Evicted"
	offenders       = "offending_containers"
	offendersUsage  = "offending_containers_usage"
	starvedResource = "starved_resource"
)

const (
	// evictedIndex is the event index by namespace and name of the pod, eventIndex by the UID of the event.
	evictedIndex = "berth.dev/evicted"
	eventIndex   = "berth.dev/event"
)

// Eviction is a container because of whose memory a kubelet has evicted a pod.
type Eviction struct {
	// Event tells it, of its Pod.
	Event, Pod types.UID
	Container  string
	Time       time.Time
	// Used is the memory that the container had, in bytes.
	Used int64
}

// Evictions watches the events of evictions, of which API servers keep the last hour. Of each event no more is
// kept than that.
type Evictions struct {
	informer cache.SharedIndexInformer
}

// NewEvictions returns a watcher that is idle until Run.
func NewEvictions(client kubernetes.Interface) (*Evictions, error) {
	ofPods := fields.Set{"reason": evicted, "involvedObject.kind": "Pod"}.AsSelector().String()
	index := func(key func(*corev1.Event) string) cache.IndexFunc {
		return func(obj any) ([]string, error) {
			if event, ok := obj.(*corev1.Event); ok {
				return []string{key(event)}, nil
			}
			return nil, nil
		}
	}
	indexers := cache.Indexers{
		evictedIndex: index(func(e *corev1.Event) string { return e.InvolvedObject.Namespace + "/" + e.InvolvedObject.Name }),
		eventIndex:   index(func(e *corev1.Event) string { return string(e.UID) }),
	}
	informer := coreinformers.NewFilteredEventInformer(client, metav1.NamespaceAll, 0, indexers, func(o *metav1.ListOptions) { o.FieldSelector = ofPods })
	return &Evictions{informer: informer}, informer.SetTransform(abridged)
}

// Run watches until the context ends.
func (e *Evictions) Run(ctx context.Context) { e.informer.RunWithContext(ctx) }

// Of returns the evictions of all pods of that name.
func (e *Evictions) Of(namespace, pod string) []Eviction {
	events, err := e.informer.GetIndexer().ByIndex(evictedIndex, namespace+"/"+pod)
	if err != nil {
		return nil // the index is there
	}
	var all []Eviction
	for _, event := range events {
		all = append(all, evictionsIn(event.(*corev1.Event))...)
	}
	return all
}

// Told tells whether an event is still there.
func (e *Evictions) Told(event types.UID) bool {
	events, err := e.informer.GetIndexer().IndexKeys(eventIndex, string(event))
	return err == nil && len(events) > 0
}

// abridged is what Of reads of an event.
func abridged(obj any) (any, error) {
	event, ok := obj.(*corev1.Event)
	if !ok {
		return obj, nil // a tombstone
	}
	kept := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: event.Namespace, Name: event.Name, UID: event.UID, ResourceVersion: event.ResourceVersion,
			CreationTimestamp: event.CreationTimestamp, Annotations: map[string]string{},
		},
		InvolvedObject: corev1.ObjectReference{Namespace: event.InvolvedObject.Namespace, Name: event.InvolvedObject.Name, UID: event.InvolvedObject.UID},
	}
	for _, key := range []string{offenders, offendersUsage, starvedResource} {
		kept.Annotations[key] = event.Annotations[key]
	}
	return kept, nil
}

// evictionsIn reads an event. The starved resource is one for all containers; upstream's recommender
// counts those events only whose one container it matches by number.
func evictionsIn(event *corev1.Event) []Eviction {
	if event.Annotations[starvedResource] != string(corev1.ResourceMemory) {
		return nil
	}
	containers := strings.Split(event.Annotations[offenders], ",")
	usage := strings.Split(event.Annotations[offendersUsage], ",")
	if len(containers) != len(usage) {
		return nil
	}
	var all []Eviction
	for i, container := range containers {
		used, err := resource.ParseQuantity(usage[i])
		if err != nil || container == "" {
			continue
		}
		all = append(all, Eviction{Event: event.UID, Pod: event.InvolvedObject.UID, Container: container, Time: event.CreationTimestamp.Time, Used: used.Value()})
	}
	return all
}
