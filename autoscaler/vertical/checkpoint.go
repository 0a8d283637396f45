// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

const (
	// containerVersion is upstream's format, of which it reads and writes nothing else.
	containerVersion = "v3"
	// slotVersion is the same format under a name that upstream refuses: it tells checkpoints
	// apart by VPA and container alone, and would take a slot for the whole set. The VPA is
	// the real one, or upstream would delete the checkpoint as an orphan.
	slotVersion = "berth.dev/slot-v3"

	// CheckpointLabel is on every checkpoint that Berth has written; its value is the
	// recommender's name.
	CheckpointLabel = "berth.dev/recommender"
	// SlotLabel is on the checkpoint of a slot and says which.
	SlotLabel = "berth.dev/slot"

	longestName = 253
)

// CheckpointID says whose history a checkpoint holds: that of a VPA's container, or, with
// a slot, of the container in that slot.
type CheckpointID struct {
	VPA             Key
	Container, Slot string
}

// Name is the name of the checkpoint's object.
//
// A container's is upstream's, `<vpa>-<container>`, so that a VPA can change hands either
// way. Upstream gives two VPAs the same name where one is called `a` with a container
// `b-c`, the other `a-b` with `c`; taken is whether the name belongs to another, and then
// it is `<vpa>.<container>.all`.
//
// A slot's is `<vpa>.<container>.<slot>`. It is never upstream's, where no dot follows
// the last dash, and never another's, since neither containers nor slots have dots. What is
// too long, or a slot that is no ordinal, is told by a hash of all three.
func (id CheckpointID) Name(taken func(name string) bool) string {
	if id.Slot == "" {
		if name := id.VPA.Name + "-" + id.Container; len(name) <= longestName && !taken(name) {
			return name
		}
		return id.name("all")
	}
	return id.name(id.Slot)
}

func (id CheckpointID) name(last string) string {
	name := id.VPA.Name + "." + id.Container + "." + last
	if len(name) <= longestName && (id.Slot == "" || isOrdinal(id.Slot)) {
		return name
	}
	sum := sha256.Sum256([]byte(id.VPA.Name + "\x00" + id.Container + "\x00" + id.Slot))
	start := strings.TrimRight(id.VPA.Name[:min(len(id.VPA.Name), 180)], "-.")
	return start + ".berth." + hex.EncodeToString(sum[:16])
}

func isOrdinal(s string) bool {
	return s != "" && len(s) <= 10 && strings.Trim(s, "0123456789") == ""
}

// Checkpoint is a history as it is stored.
type Checkpoint struct {
	ID     CheckpointID
	Status vpav1.VerticalPodAutoscalerCheckpointStatus
}

// Object is the checkpoint under a name that Name has given.
func (c Checkpoint) Object(name, recommender string) *vpav1.VerticalPodAutoscalerCheckpoint {
	o := &vpav1.VerticalPodAutoscalerCheckpoint{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.ID.VPA.Namespace, Name: name,
			Labels: map[string]string{CheckpointLabel: recommender},
		},
		Spec:   vpav1.VerticalPodAutoscalerCheckpointSpec{VPAObjectName: c.ID.VPA.Name, ContainerName: c.ID.Container},
		Status: c.Status,
	}
	if c.ID.Slot != "" {
		o.Labels[SlotLabel] = c.ID.Slot
	}
	return o
}

// Identify tells whose a checkpoint is, upstream's included.
func Identify(o *vpav1.VerticalPodAutoscalerCheckpoint) (CheckpointID, error) {
	id := CheckpointID{VPA: Key{Namespace: o.Namespace, Name: o.Spec.VPAObjectName}, Container: o.Spec.ContainerName}
	if id.VPA.Name == "" || id.Container == "" {
		return id, errors.New("it names no VPA or no container")
	}
	switch o.Status.Version {
	case containerVersion:
		return id, nil
	case slotVersion:
		if id.Slot = o.Labels[SlotLabel]; id.Slot == "" {
			return id, fmt.Errorf("it names no slot in the label %s", SlotLabel)
		}
		return id, nil
	default:
		return id, fmt.Errorf("its version %q is none of %s and %s", o.Status.Version, containerVersion, slotVersion)
	}
}

// Checkpoints are what a restart needs of a VPA's history: one of each container, one of
// each of its slots. The memory peak of an interval that goes on is left out, as upstream
// does: the interval begins anew after a restart, and the peak would count twice.
func (h History) Checkpoints(vpa Key, now time.Time) []Checkpoint {
	var out []Checkpoint
	at := momentOf(now)
	for _, l := range h.workloads[vpa] {
		all, own := newScratch(h.scales), newScratch(h.scales)
		// Even a single history is merged into an empty one, as upstream does.
		all.sum()
		for _, r := range l.slots {
			if r.live != nil {
				all.merge(h.scales, r.live)
			}
		}
		if l.inherited != nil {
			all.merge(h.scales, l.inherited)
		}
		for _, r := range l.slots {
			own.sum(r.live, r.restored)
			for _, c := range r.running {
				if c.alive && at < c.intervalEnd {
					all.takeBack(c)
					own.takeBack(c)
				}
			}
			if r.slot != "" && own.seen != 0 {
				out = append(out, Checkpoint{ID: CheckpointID{VPA: vpa, Container: l.container, Slot: r.slot}, Status: own.save(now, slotVersion)})
			}
		}
		if all.seen != 0 {
			out = append(out, Checkpoint{ID: CheckpointID{VPA: vpa, Container: l.container}, Status: all.save(now, containerVersion)})
		}
	}
	return out
}

func (m *scratch) takeBack(c *container) {
	m.usage.memory.subtract(m.scales.memory, float64(c.highest()), memoryWeight, c.intervalEnd.time())
}

func (u *usage) save(now time.Time, version string) vpav1.VerticalPodAutoscalerCheckpointStatus {
	return vpav1.VerticalPodAutoscalerCheckpointStatus{
		LastUpdateTime:    metav1.NewTime(now),
		Version:           version,
		CPUHistogram:      u.cpu.save(),
		MemoryHistogram:   u.memory.save(),
		FirstSampleStart:  metav1.NewTime(u.first.time()),
		LastSampleStart:   metav1.NewTime(u.last.time()),
		TotalSamplesCount: u.samples,
	}
}

func (s *scales) load(c vpav1.VerticalPodAutoscalerCheckpointStatus) (*usage, error) {
	u := s.usage()
	if err := u.memory.load(s.memory, c.MemoryHistogram); err != nil {
		return nil, fmt.Errorf("its memory histogram has %w", err)
	}
	if err := u.cpu.load(s.cpu, c.CPUHistogram); err != nil {
		return nil, fmt.Errorf("its cpu histogram has %w", err)
	}
	if c.TotalSamplesCount < 0 || c.LastSampleStart.Time.Before(c.FirstSampleStart.Time) {
		return nil, fmt.Errorf("its %d samples are from %v to %v", c.TotalSamplesCount, c.FirstSampleStart, c.LastSampleStart)
	}
	u.first, u.last, u.samples = momentOf(c.FirstSampleStart.Time), momentOf(c.LastSampleStart.Time), c.TotalSamplesCount
	// Where cpu was never measured, the checkpoint itself is the only sign of life.
	if u.seen = u.last; u.seen == 0 {
		u.seen = momentOf(c.LastUpdateTime.Time)
	}
	return u, nil
}

// Restore is the history that checkpoints tell of, upstream's or Berth's. Those that
// cannot be read are left out, with the reason, by namespace and name of the object.
func Restore(objects []*vpav1.VerticalPodAutoscalerCheckpoint) (History, map[Key]error) {
	h, refused := newHistory(), map[Key]error{}
	// The latest is last, and holds, where two tell of the same.
	objects = slices.SortedFunc(slices.Values(objects), func(a, b *vpav1.VerticalPodAutoscalerCheckpoint) int {
		return cmp.Or(a.Status.LastUpdateTime.Compare(b.Status.LastUpdateTime.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, o := range objects {
		id, err := Identify(o)
		var u *usage
		if err == nil {
			u, err = h.scales.load(o.Status)
		}
		if err != nil {
			refused[Key{Namespace: o.Namespace, Name: o.Name}] = err
			continue
		}
		l := h.lineage(id.VPA, id.Container)
		if id.Slot != "" {
			l.record(id.Slot).restored = u
			continue
		}
		l.inherited, l.saved = u, momentOf(o.Status.LastUpdateTime.Time)
	}
	return h, refused
}
