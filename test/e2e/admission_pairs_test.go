// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/test/fixture"
)

// pair is two autoscalers of one namespace on their way to a conflict.
type pair struct {
	// stands is written first; older: before the policies are installed.
	stands []write
	older  bool
	// try is what somebody asks for then, and refused the words of the refusal; none if
	// it is taken. Afterwards then is taken in any case.
	try     write
	refused []string
	then    write
	// labels are those of the namespace.
	labels map[string]string
}

// write is one request to the API server.
type write func(ctx context.Context, s scene) error

func does(writes ...write) []write { return writes }

// The names are the same in each namespace.
const (
	front = "front"
	sizer = "sizer"
	// holdUp is a finalizer.
	holdUp = "e2e.berth.dev/hold"
)

// saysHPA and saysVPA are what a refusal names: the target, the other one and what to do.
func saysHPA() []string {
	return []string{"Deployment/web", "HorizontalPodAutoscaler", `"front"`, "delete it first"}
}

func saysVPA() []string {
	return []string{"Deployment/web", "VerticalPodAutoscaler", `"sizer"`, "delete it first"}
}

// pairs is the table.
func pairs() map[string]pair {
	web, db, replicas := fixture.Target("Deployment", "web"), fixture.Target("StatefulSet", "db"), fixture.Target("ReplicaSet", "web-7d9f")
	other := func(apiVersion, kind, name string) autoscalingv2.CrossVersionObjectReference {
		return autoscalingv2.CrossVersionObjectReference{APIVersion: apiVersion, Kind: kind, Name: name}
	}
	noGroup, older := other("", "Deployment", "web"), other("apps/v1beta1", "Deployment", "web")
	bothOn := does(createHPA(web), createVPA(web, ""))
	off, initial, recreate, inPlace := vpav1.UpdateModeOff, vpav1.UpdateModeInitial, vpav1.UpdateModeRecreate, vpav1.UpdateModeInPlaceOrRecreate
	return map[string]pair{
		// Two new ones, in both orders.
		"VPA beside HPA":                   {stands: does(createHPA(web)), try: createVPA(web, ""), refused: saysHPA()},
		"VPA Off beside HPA":               {stands: does(createHPA(web)), try: createVPA(web, off), refused: saysHPA()},
		"VPA Initial beside HPA":           {stands: does(createHPA(web)), try: createVPA(web, initial), refused: saysHPA()},
		"VPA InPlaceOrRecreate beside HPA": {stands: does(createHPA(web)), try: createVPA(web, inPlace), refused: saysHPA()},
		"upstream's VPA beside HPA":        {stands: does(createHPA(web)), try: createUpstreamVPA(web), refused: saysHPA()},
		"VPA beside HPA of autoscaling/v1": {stands: does(createOldHPA(web)), try: createVPA(web, ""), refused: saysHPA()},
		"VPA on a set beside HPA":          {stands: does(createHPA(db)), try: createVPA(db, ""), refused: []string{"StatefulSet/db", `"front"`}},
		"VPA on a ReplicaSet beside HPA":   {stands: does(createHPA(replicas)), try: createVPA(replicas, ""), refused: []string{"ReplicaSet/web-7d9f", `"front"`}},
		"VPA without apiVersion":           {stands: does(createHPA(web)), try: createVPA(noGroup, ""), refused: saysHPA()},
		"VPA of another version":           {stands: does(createHPA(web)), try: createVPA(older, ""), refused: saysHPA()},
		"HPA beside VPA":                   {stands: does(createVPA(web, "")), try: createHPA(web), refused: saysVPA()},
		"HPA of autoscaling/v1 beside VPA": {stands: does(createVPA(web, "")), try: createOldHPA(web), refused: saysVPA()},
		"HPA beside VPA Off":               {stands: does(createVPA(web, off)), try: createHPA(web), refused: saysVPA()},
		"HPA beside upstream's VPA":        {stands: does(createUpstreamVPA(web)), try: createHPA(web), refused: saysVPA()},
		"HPA of another version":           {stands: does(createVPA(web, "")), try: createHPA(older), refused: saysVPA()},
		"HPA on a set beside VPA":          {stands: does(createVPA(db, "")), try: createHPA(db), refused: []string{"StatefulSet/db", `"sizer"`}},
		// No conflict, or none that admission sees.
		"another name":                {stands: does(createHPA(other("apps/v1", "Deployment", "web-2"))), try: createVPA(web, "")},
		"another kind":                {stands: does(createHPA(other("apps/v1", "StatefulSet", "web"))), try: createVPA(web, "")},
		"another group":               {stands: does(createHPA(other("example.com/v1", "Deployment", "web"))), try: createVPA(web, "")},
		"another namespace":           {try: createVPA(web, "")},
		"a namespace that opted out":  {labels: map[string]string{"berth.dev/allow-hpa-with-vpa": "true"}, stands: does(createHPA(web)), try: createVPA(web, "")},
		"a label of another value":    {labels: map[string]string{"berth.dev/allow-hpa-with-vpa": "false"}, stands: does(createHPA(web)), try: createVPA(web, ""), refused: saysHPA()},
		"HPA on the VPA's ReplicaSet": {stands: does(createVPA(web, "")), try: createHPA(replicas)},
		// Deletion of either.
		"VPA after the HPA":            {stands: does(createHPA(web), deleteHPA), try: createVPA(web, "")},
		"HPA after the VPA":            {stands: does(createVPA(web, ""), deleteVPA), try: createHPA(web)},
		"VPA beside an HPA that goes":  {stands: does(createHPA(web), patchHPA("/metadata/finalizers", []string{holdUp}), deleteHPA), try: createVPA(web, ""), refused: saysHPA(), then: patchHPA("/metadata/finalizers", []string{})},
		"an older HPA is deleted":      {older: true, stands: bothOn, try: deleteHPA},
		"an older VPA is deleted":      {older: true, stands: bothOn, try: deleteVPA},
		"an older HPA ends":            {older: true, stands: append(bothOn, patchHPA("/metadata/finalizers", []string{holdUp}), deleteHPA), try: patchHPA("/metadata/finalizers", []string{})},
		"an older VPA ends":            {older: true, stands: append(bothOn, patchVPA("/metadata/finalizers", []string{holdUp}), deleteVPA), try: patchVPA("/metadata/finalizers", []string{})},
		"an older HPA is made again":   {older: true, stands: append(bothOn, deleteHPA), try: createHPA(web), refused: saysVPA()},
		"a third beside an older pair": {older: true, stands: bothOn, try: createNamedVPA("third", web), refused: saysHPA()},
		// Updates that turn into a conflict, and updates of older ones.
		"VPA turns to the HPA's target": {stands: does(createHPA(web), createVPA(db, "")), try: patchVPA("/spec/targetRef", web), refused: saysHPA()},
		"HPA turns to the VPA's target": {stands: does(createVPA(web, ""), createHPA(db)), try: patchHPA("/spec/scaleTargetRef", web), refused: saysVPA()},
		"VPA turns away":                {older: true, stands: bothOn, try: patchVPA("/spec/targetRef", db)},
		"HPA turns away":                {older: true, stands: bothOn, try: patchHPA("/spec/scaleTargetRef", db)},
		"an older VPA is labelled":      {older: true, stands: bothOn, try: patchVPA("/metadata/labels", map[string]string{"seen": "yes"})},
		"an older HPA is labelled":      {older: true, stands: bothOn, try: patchHPA("/metadata/labels", map[string]string{"seen": "yes"})},
		"an older HPA gets a maximum":   {older: true, stands: bothOn, try: patchHPA("/spec/maxReplicas", 9)},
		"an older VPA is switched off":  {older: true, stands: bothOn, try: switchVPA(off)},
		"an older VPA is switched on":   {older: true, stands: does(createHPA(web), createVPA(web, off)), try: switchVPA(recreate), refused: saysHPA()},
		"an older VPA does more":        {older: true, stands: does(createHPA(web), createVPA(web, initial)), try: switchVPA(recreate), refused: saysHPA()},
		"an older VPA gets a bound":     {older: true, stands: bothOn, try: patchVPA("/spec/resourcePolicy", &vpav1.PodResourcePolicy{})},
	}
}

func namedHPA(name string, target autoscalingv2.CrossVersionObjectReference) *autoscalingv2.HorizontalPodAutoscaler {
	return fixture.Scaler{Name: name, Target: target, Min: 1, Max: 3, CPUPercent: 50}.HPA()
}

func createHPA(target autoscalingv2.CrossVersionObjectReference) write {
	return func(ctx context.Context, s scene) error {
		_, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Create(ctx, namedHPA(front, target), metav1.CreateOptions{})
		return err
	}
}

func createOldHPA(target autoscalingv2.CrossVersionObjectReference) write {
	return func(ctx context.Context, s scene) error {
		hpa := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: front}}
		hpa.Spec.ScaleTargetRef, hpa.Spec.MaxReplicas = autoscalingv1.CrossVersionObjectReference(target), 3
		_, err := s.Kube.AutoscalingV1().HorizontalPodAutoscalers(s.Namespace).Create(ctx, hpa, metav1.CreateOptions{})
		return err
	}
}

func (s scene) createVPA(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler) error {
	_, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Create(ctx, vpa, metav1.CreateOptions{})
	return err
}

func createVPA(target autoscalingv2.CrossVersionObjectReference, mode vpav1.UpdateMode) write {
	return func(ctx context.Context, s scene) error {
		return s.createVPA(ctx, inMode(fixture.VPA(sizer, target), mode))
	}
}

// inMode leaves the mode as it is if it is empty.
func inMode(vpa *vpav1.VerticalPodAutoscaler, mode vpav1.UpdateMode) *vpav1.VerticalPodAutoscaler {
	if mode != "" {
		vpa.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: &mode}
	}
	return vpa
}

func createNamedVPA(name string, target autoscalingv2.CrossVersionObjectReference) write {
	return func(ctx context.Context, s scene) error { return s.createVPA(ctx, fixture.VPA(name, target)) }
}

func createUpstreamVPA(target autoscalingv2.CrossVersionObjectReference) write {
	return func(ctx context.Context, s scene) error {
		vpa := fixture.VPA(sizer, target)
		vpa.Spec.Recommenders = nil
		return s.createVPA(ctx, vpa)
	}
}

func deleteHPA(ctx context.Context, s scene) error {
	return s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Delete(ctx, front, metav1.DeleteOptions{})
}

func deleteVPA(ctx context.Context, s scene) error {
	return s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Delete(ctx, sizer, metav1.DeleteOptions{})
}

func patchHPA(path string, value any) write {
	return func(ctx context.Context, s scene) error {
		patch, err := replacing(path, value)
		if err != nil {
			return err
		}
		_, err = s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Patch(ctx, front, types.JSONPatchType, patch, metav1.PatchOptions{})
		return err
	}
}

func patchVPA(path string, value any) write {
	return func(ctx context.Context, s scene) error {
		patch, err := replacing(path, value)
		if err != nil {
			return err
		}
		_, err = s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Patch(ctx, sizer, types.JSONPatchType, patch, metav1.PatchOptions{})
		return err
	}
}

func switchVPA(mode vpav1.UpdateMode) write {
	return patchVPA("/spec/updatePolicy", &vpav1.PodUpdatePolicy{UpdateMode: &mode})
}

func replacing(path string, value any) ([]byte, error) {
	return json.Marshal([]map[string]any{{"op": "add", "path": path, "value": value}})
}
