// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// giveSizes tells each workload what its pods get from a VPA when they are created.
func giveSizes(workloads []forecast.Workload, tables map[scaled]sizes.Table) {
	for i := range workloads {
		w := &workloads[i]
		names := []scaled{{w.Kind, w.Namespace, w.Name}}
		owner := w.Controller
		if owner == nil && len(w.Pods) > 0 {
			owner = metav1.GetControllerOfNoCopy(w.Pods[0])
		}
		if owner != nil {
			names = append(names, scaled{owner.Kind, w.Namespace, owner.Name})
		}
		for _, name := range names {
			if table, ok := tables[name]; ok {
				w.Sizes = sizesIn(table)
				break
			}
		}
	}
}

func sizesIn(table sizes.Table) []forecast.Size {
	var all []forecast.Size
	for _, s := range table.Sizes {
		size := forecast.Size{Slot: s.Slot, Container: s.Container, Requests: s.Requests, Limits: s.Limits}
		if s.Slot == sizes.AnySlot {
			size.Slot = ""
		}
		all = append(all, size)
	}
	return all
}
