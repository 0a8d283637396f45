// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// policies are the kubelet's, as annotations of the node name them. Nothing else of a container
// manager is asked for.
type policies struct {
	cm.ContainerManager
	kubelet *kubelet
}

func (p policies) GetNodeConfig() cm.NodeConfig {
	return cm.NodeConfig{
		CPUManagerPolicy:    p.kubelet.node.Annotations[layout.AnnotationCPUManager],
		MemoryManagerPolicy: p.kubelet.node.Annotations[layout.AnnotationMemoryManager],
	}
}

// runtime is asked for nothing but the swap of containers.
type runtime struct {
	kubecontainer.Runtime
	kubelet *kubelet
}

// GetContainerSwapBehavior gives swap, on a node that has some, to what is between request
// and limit (pkg/kubelet/kuberuntime/kuberuntime_container_linux.go).
func (r runtime) GetContainerSwapBehavior(pod *corev1.Pod, c *corev1.Container) kubetypes.SwapBehavior {
	behavior := kubetypes.SwapBehavior(r.kubelet.node.Annotations[layout.AnnotationSwap])
	burst := c.Resources.Requests.Memory().Cmp(*c.Resources.Limits.Memory()) != 0
	if behavior == kubetypes.LimitedSwap && burst && qos.GetPodQOS(pod) == corev1.PodQOSBurstable && !kubetypes.IsCriticalPod(pod) {
		return kubetypes.LimitedSwap
	}
	return kubetypes.NoSwap
}
