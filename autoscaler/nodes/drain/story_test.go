// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/berth-dev/berth/autoscaler/disruption"
)

// cluster is a model: controllers re-create pods on nodes that stay, and the eviction API counts budgets.
type cluster struct {
	r       *rand.Rand
	now     time.Time
	nodes   map[string]*v1.Node
	pods    map[string]*v1.Pod
	slots   int
	quorum  int
	desired int // pods of web that its budget needs
	back    map[string]time.Time
	ready   map[string]time.Time
	made    int
	// slow pods take long to become ready, mule nodes cannot be deleted, deaf ones evict nothing.
	slow         time.Duration
	mulish, deaf string
	outcomes     map[string]string
	seen         *cluster // as the informers have it
	evicted      map[types.UID]bool
}

func newCluster(r *rand.Rand) *cluster {
	c := &cluster{
		r: r, now: noon, nodes: map[string]*v1.Node{}, pods: map[string]*v1.Pod{}, back: map[string]time.Time{}, ready: map[string]time.Time{},
		slots: 3 + r.Intn(4), outcomes: map[string]string{}, evicted: map[types.UID]bool{},
		slow: []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute}[r.Intn(3)],
	}
	going := 1 + r.Intn(3)
	for i := range going + 2 {
		n := st.MakeNode().Name(fmt.Sprintf("n%d", i)).Obj()
		if i < going {
			n.Spec.Taints = []v1.Taint{Mark(noon.Add(-time.Duration(r.Intn(10)) * time.Second))}
		}
		c.nodes[n.Name] = n
	}
	c.mulish, c.deaf = []string{"", "n0"}[r.Intn(2)], []string{"", "", "n1"}[r.Intn(3)]
	c.quorum = r.Intn(c.slots + 1)
	for i := range c.slots {
		c.create(fmt.Sprintf("db-%d", i), "StatefulSet", fmt.Sprintf("n%d", r.Intn(len(c.nodes))), 0)
	}
	web := r.Intn(8)
	for range web {
		c.create("", "ReplicaSet", fmt.Sprintf("n%d", r.Intn(len(c.nodes))), 0)
	}
	c.desired = r.Intn(web + 1)
	return c
}

func (c *cluster) create(name, kind, node string, after time.Duration) {
	c.made++
	if name == "" {
		name = fmt.Sprintf("web-%d", c.made)
	}
	pod := running(name, kind)
	pod.UID, pod.Spec.NodeName = types.UID(fmt.Sprintf("uid-%d", c.made)), node
	if kind == "StatefulSet" {
		pod.Labels = nil
	}
	if after > 0 {
		unready(pod)
		c.ready[name] = c.now.Add(after)
	}
	c.pods[name] = pod
}

// second passes: what was asked for happens.
func (c *cluster) second() {
	c.now = c.now.Add(time.Second)
	for name, pod := range c.pods {
		if pod.DeletionTimestamp != nil && !c.now.Before(pod.DeletionTimestamp.Time) {
			delete(c.pods, name)
			c.back[name] = c.now.Add(time.Second)
		}
	}
	var stay []string
	for name, n := range c.nodes {
		if len(n.Spec.Taints) == 0 {
			stay = append(stay, name)
		}
	}
	slices.Sort(stay)
	for name, at := range c.back {
		if c.now.Before(at) {
			continue
		}
		delete(c.back, name)
		kind := "ReplicaSet"
		if name[:2] == "db" {
			kind = "StatefulSet"
		} else {
			name = ""
		}
		c.create(name, kind, stay[c.r.Intn(len(stay))], 1+time.Duration(c.r.Int63n(int64(c.slow))))
	}
	for name, at := range c.ready {
		if pod := c.pods[name]; pod != nil && !c.now.Before(at) {
			pod = pod.DeepCopy()
			pod.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue, LastTransitionTime: metav1.NewTime(c.now)}}
			c.pods[name] = pod
			delete(c.ready, name)
		}
	}
}

func (c *cluster) up(prefix string) (up, there int) {
	for name, pod := range c.pods {
		if name[:2] == prefix {
			there++
			if disruption.Ready(pod) {
				up++
			}
		}
	}
	return up, there
}

// evict is the eviction API.
func (c *cluster) evict(t *testing.T, pod *v1.Pod) {
	live := c.pods[pod.Name]
	if live == nil || live.UID != pod.UID || pod.Spec.NodeName == c.deaf || c.r.Intn(5) == 0 {
		return
	}
	if up, _ := c.up("we"); pod.Name[:2] == "we" && disruption.Ready(live) && up-1 < c.desired {
		return // TooManyRequests
	}
	if len(c.nodes[pod.Spec.NodeName].Spec.Taints) == 0 {
		t.Fatalf("pod %s is evicted from node %s, which has no taint", pod.Name, pod.Spec.NodeName)
	}
	if since, _ := Since(c.nodes[pod.Spec.NodeName]); c.now.Sub(since) < DefaultConfig().AfterTaint {
		t.Fatalf("pod %s is evicted %s after the taint", pod.Name, c.now.Sub(since))
	}
	live = live.DeepCopy()
	live.DeletionTimestamp = &metav1.Time{Time: c.now.Add(time.Duration(c.r.Intn(20)) * time.Second)}
	c.pods[pod.Name] = live
	c.evicted[pod.UID] = true
}

// world is what the informers show, a moment late, with the evictions that they do not show yet.
func (c *cluster) world() (World, map[string][]*v1.Pod) {
	w := World{Now: c.now, Config: DefaultConfig(), Controllers: map[types.UID]Controller{"owner": {Replicas: 9}}}
	set, on := Set{Name: "prod/db", Wanted: c.slots, Quorum: c.quorum}, map[string][]*v1.Pod{}
	var web []*v1.Pod
	present := map[string]bool{}
	for name, pod := range c.seen.pods {
		if c.evicted[pod.UID] && pod.DeletionTimestamp == nil {
			pod = pod.DeepCopy()
			pod.DeletionTimestamp = &metav1.Time{Time: c.now.Add(30 * time.Second)}
		}
		on[pod.Spec.NodeName] = append(on[pod.Spec.NodeName], pod)
		if name[:2] == "db" {
			present[name] = true
			ordinal := int(name[3] - '0')
			set.Slots = append(set.Slots, Slot{Ordinal: ordinal, Pod: pod})
		} else {
			web = append(web, pod)
		}
	}
	for i := range c.slots {
		if !present[fmt.Sprintf("db-%d", i)] {
			set.Absent = append(set.Absent, i)
		}
	}
	w.Sets = []Set{set}
	up := 0
	for _, pod := range web {
		if disruption.Ready(pod) {
			up++
		}
	}
	w.Budgets = []disruption.Budget{pdb("web", int32(max(0, up-c.desired)), int32(c.desired), web...)}
	return w, on
}

func (c *cluster) look() {
	c.seen = &cluster{nodes: map[string]*v1.Node{}, pods: map[string]*v1.Pod{}}
	for name, n := range c.nodes {
		c.seen.nodes[name] = n.DeepCopy()
	}
	for name, pod := range c.pods {
		c.seen.pods[name] = pod
	}
}

// Whatever happens, a node on its way out is deleted or left without its taint, and nobody is hurt by it.
func TestStories(t *testing.T) {
	outcomes := map[Kind]int{}
	for seed := range int64(120) {
		c := newCluster(rand.New(rand.NewSource(seed)))
		progress, failed := map[string]Progress{}, map[string]string{}
		floorDB, _ := c.up("db")
		floorDB = min(floorDB, c.quorum)
		for c.look(); ; {
			if c.r.Intn(100) == 0 {
				clear(progress) // another leader
				clear(failed)
			}
			w, on := c.world()
			judge, going := NewJudge(w), 0
			for i := range len(c.nodes) + len(c.outcomes) {
				name := fmt.Sprintf("n%d", i)
				n := c.seen.nodes[name]
				if n == nil || c.nodes[name] == nil || !Marked(c.nodes[name]) {
					continue
				}
				going++
				step, then := judge.Next(Node{Object: n, Pods: on[name], Progress: progress[name], Failed: failed[name]})
				progress[name] = then
				switch step.Kind {
				case Evicting:
					for _, pod := range step.Pods {
						c.evict(t, pod)
					}
				case Deleting:
					if name == c.mulish {
						failed[name] = "no"
						continue
					}
					for _, pod := range c.pods {
						if pod.Spec.NodeName == name && pod.DeletionTimestamp == nil {
							t.Fatalf("seed %d: node %s is deleted with pod %s on it", seed, name, pod.Name)
						}
					}
					delete(c.nodes, name)
					c.outcomes[name] = "deleted"
					outcomes[Deleting]++
				case Undoing:
					c.nodes[name].Spec.Taints = nil
					outcomes[Undoing]++
				case Waiting:
				default:
					t.Fatalf("seed %d: node %s: %+v", seed, name, step)
				}
			}
			if going == 0 {
				break
			}
			if c.now.Sub(noon) > 2*time.Hour {
				t.Fatalf("seed %d: the drain of %d nodes does not end", seed, going)
			}
			c.look() // a second late
			c.second()
			up, there := c.up("db")
			leaving := 0
			for name, pod := range c.pods {
				if name[:2] == "db" && pod.DeletionTimestamp != nil {
					leaving++
				}
			}
			if up < floorDB || leaving+c.slots-there > 1 {
				t.Fatalf("seed %d, second %s: %d of %d slots are up, %d leave, quorum %d", seed, c.now.Sub(noon), up, c.slots, leaving, c.quorum)
			}
			if up, _ := c.up("we"); up < c.desired {
				t.Fatalf("seed %d: %d pods of web are up, %d needed", seed, up, c.desired)
			}
		}
	}
	if outcomes[Deleting] < 20 || outcomes[Undoing] < 20 {
		t.Errorf("outcomes %v: the stories prove little", outcomes)
	}
}
