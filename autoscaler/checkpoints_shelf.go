// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical"
)

// shelf is what is known of the checkpoints at the API server: not what is in them. It belongs to the loop.
type shelf struct {
	// read: which checkpoints there are is known. Until then unserved is when the API server last did
	// not know the kind; zero if it has not said so.
	read     bool
	unserved time.Time
	stored   map[types.NamespacedName]stored
	// names are those of the checkpoints that can be read.
	names map[vertical.CheckpointID]string
	// turns are when the checkpoints of each VPA whose history is kept were written last; zero if they were not.
	turns map[vertical.Key]time.Time
	swept time.Time
	// errand brings what the requests under way have come to. It is nil while there are none.
	errand chan func()
}

// stored is a checkpoint as far as the next write must know it.
type stored struct {
	id       vertical.CheckpointID
	readable bool
	// planned: the name is taken for a checkpoint that is to be made. Nothing else is known of it.
	planned          bool
	uid              types.UID
	version          string // resourceVersion
	format           string // Status.Version
	created, written time.Time
	// ours: it is labelled as Berth's. bare: it has no labels at all.
	ours, bare bool
}

// hold takes checkpoints as they are at the API server.
func (s *shelf) hold(objects []*vpav1.VerticalPodAutoscalerCheckpoint) {
	if s.stored == nil {
		s.stored, s.names = map[types.NamespacedName]stored{}, map[vertical.CheckpointID]string{}
	}
	for _, o := range objects {
		at := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		s.drop(at)
		id, err := vertical.Identify(o)
		_, ours := o.Labels[vertical.CheckpointLabel]
		is := stored{
			id: id, readable: err == nil, uid: o.UID, version: o.ResourceVersion, format: o.Status.Version,
			created: o.CreationTimestamp.Time, written: o.Status.LastUpdateTime.Time, ours: ours, bare: len(o.Labels) == 0,
		}
		s.stored[at] = is
		// Of two that tell of the same the later one holds, as when they are restored.
		if other, found := s.names[id]; is.readable && (!found || !is.written.Before(s.stored[types.NamespacedName{Namespace: at.Namespace, Name: other}].written)) {
			s.names[id] = at.Name
		}
	}
}

func (s *shelf) drop(at types.NamespacedName) {
	if was, found := s.stored[at]; found && s.names[was.id] == at.Name {
		delete(s.names, was.id)
	}
	delete(s.stored, at)
}

// follow keeps the turns of Berth's VPAs, and returns those that another recommender has had until now. The first time all
// that is known has just been read.
func (s *shelf) follow(ours []*vpav1.VerticalPodAutoscaler, now time.Time) sets.Set[vertical.Key] {
	first := s.turns == nil
	before := s.turns
	s.turns = make(map[vertical.Key]time.Time, len(ours))
	owed := sets.New[vertical.Key]()
	for _, vpa := range ours {
		key := keyOf(vpa)
		last, known := before[key]
		switch {
		case known:
			s.turns[key] = last
		case first, now.Sub(vpa.CreationTimestamp.Time) < checkpointPeriod:
			s.turns[key] = time.Time{}
		default:
			owed.Insert(key)
		}
	}
	for key := range before {
		if _, still := s.turns[key]; !still {
			s.swept = time.Time{} // its checkpoints may be for nobody
		}
	}
	return owed
}

// due are checkpoints of the VPAs that were last written before a time, of those that have waited longest: of so many VPAs, and of
// all that have never been, until there are so many checkpoints. They count as written from now on.
func (s *shelf) due(history vertical.History, now, before time.Time, share, most int) []*checkpointWrite {
	inTurn := slices.SortedFunc(maps.Keys(s.turns), func(a, b vertical.Key) int {
		return cmp.Or(s.turns[a].Compare(s.turns[b]), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var due []*checkpointWrite
	taken := 0
	for _, key := range inTurn {
		last := s.turns[key]
		if len(due) >= most || !last.IsZero() && (taken >= share || !last.Before(before)) {
			break
		}
		found := history.Checkpoints(key, now)
		if len(found) == 0 {
			continue // it will have its turn once there is something to keep
		}
		taken++
		s.turns[key] = now
		for _, checkpoint := range found {
			due = append(due, s.plan(checkpoint))
		}
	}
	return due
}

// plan says where a checkpoint goes, and takes the name for it.
func (s *shelf) plan(checkpoint vertical.Checkpoint) *checkpointWrite {
	namespace := checkpoint.ID.VPA.Namespace
	name, known := s.names[checkpoint.ID]
	if !known {
		name = checkpoint.ID.Name(func(name string) bool {
			_, taken := s.stored[types.NamespacedName{Namespace: namespace, Name: name}]
			return taken
		})
	}
	w := &checkpointWrite{checkpoint: checkpoint, at: types.NamespacedName{Namespace: namespace, Name: name}}
	is, found := s.stored[w.at]
	switch {
	case known:
		w.was = is
	case found:
		w.err = errTaken
	default:
		w.was = stored{id: checkpoint.ID, readable: true, planned: true}
		s.stored[w.at] = w.was
		s.names[checkpoint.ID] = name
	}
	return w
}

// orphans are checkpoints of Berth's that nobody needs, of VPAs of which exist says whether they are Berth's.
func (s *shelf) orphans(now time.Time, exist map[vertical.Key]bool, most int) []*vpav1.VerticalPodAutoscalerCheckpoint {
	var orphans []*vpav1.VerticalPodAutoscalerCheckpoint
	for at, is := range s.stored {
		if is.ours && !is.planned && len(orphans) < most {
			orphans = append(orphans, vertical.Orphans(now, []*vpav1.VerticalPodAutoscalerCheckpoint{is.object(at)}, exist)...)
		}
	}
	return orphans
}

// object is the checkpoint without what is in it.
func (s stored) object(at types.NamespacedName) *vpav1.VerticalPodAutoscalerCheckpoint {
	o := &vpav1.VerticalPodAutoscalerCheckpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name, UID: s.uid, ResourceVersion: s.version, CreationTimestamp: metav1.NewTime(s.created)},
		Spec:       vpav1.VerticalPodAutoscalerCheckpointSpec{VPAObjectName: s.id.VPA.Name, ContainerName: s.id.Container},
		Status:     vpav1.VerticalPodAutoscalerCheckpointStatus{Version: s.format, LastUpdateTime: metav1.NewTime(s.written)},
	}
	if s.ours {
		o.Labels = map[string]string{vertical.CheckpointLabel: ""}
		if s.id.Slot != "" {
			o.Labels[vertical.SlotLabel] = s.id.Slot
		}
	}
	return o
}
