# Copyright The Berth Authors.
# SPDX-License-Identifier: Apache-2.0

# A whole Kubernetes control plane, built from source and run on this machine.
# The top Makefile includes this file. Settings of `make cluster-up`:
#   NAME=berth NODES=3 ZONES=3 NODE_CPU=4 NODE_MEMORY=16Gi NODE_PODS=110
#   NODE_BOOT=0s POD_READY=0s POD_STOP=0s BERTH=on ADAPTER=on CLUSTER_FLAGS=
NAME ?= berth
CLUSTER_BIN := $(BIN)/cluster
CLUSTER_KUBE := etcd kube-apiserver kube-controller-manager kube-scheduler kubectl metrics-server berth-storage berth-adapter

# kwokctl asks metrics-server and others for their version; metrics-server has no stamp of its own but client-go's.
CLUSTER_LDFLAGS := -s -w $(LDFLAGS) -X k8s.io/client-go/pkg/version.gitVersion=v0.9.0

# The CRD of the VPA comes with upstream's module, not with a copy of ours.
VPA_CRD = $(shell go list -m -f '{{.Dir}}' k8s.io/autoscaler/vertical-pod-autoscaler)/deploy/vpa-v1-crd-gen.yaml

# Those of Cluster API come with upstream's module, too. Nothing links it: it is fetched like the tools that are run with
# "go run MODULE@VERSION".
CAPI := sigs.k8s.io/cluster-api@v1.14.2
CAPI_CRDS = $(addprefix $(shell go mod download -json $(CAPI) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p')/core/config/crd/bases/cluster.x-k8s.io_, \
	clusters.yaml machinedeployments.yaml machinepools.yaml machines.yaml machinesets.yaml)

.PHONY: cluster-build
cluster-build: ## Build the control plane for local clusters into bin/cluster/
	@mkdir -p $(CLUSTER_BIN)
	cd test/cluster && go build -ldflags "$(CLUSTER_LDFLAGS)" -o $(CLUSTER_BIN)/ \
		./cmd/berth-kube ./cmd/berth-cluster sigs.k8s.io/kwok/cmd/kwok sigs.k8s.io/kwok/cmd/kwokctl
	@for name in $(CLUSTER_KUBE); do ln -sf berth-kube $(CLUSTER_BIN)/$$name; done
	@install -m 644 $(VPA_CRD) $(CLUSTER_BIN)/vpa-crd.yaml
	@cat $(CAPI_CRDS) >$(CLUSTER_BIN)/cluster-api-crds.yaml

.PHONY: cluster-up
cluster-up: cluster-build $(if $(filter-out off,$(or $(BERTH),on)),build) ## Start a cluster (NAME, NODES, ZONES, NODE_CPU, NODE_MEMORY, NODE_PODS, NODE_BOOT, POD_READY, POD_STOP, BERTH=off, ADAPTER=off)
	@$(CLUSTER_BIN)/berth-cluster up --name $(NAME) \
		$(if $(NODES),--nodes $(NODES)) $(if $(ZONES),--zones $(ZONES)) \
		$(if $(NODE_CPU),--node-cpu $(NODE_CPU)) $(if $(NODE_MEMORY),--node-memory $(NODE_MEMORY)) $(if $(NODE_PODS),--node-pods $(NODE_PODS)) \
		$(if $(NODE_BOOT),--node-boot $(NODE_BOOT)) $(if $(POD_READY),--pod-ready $(POD_READY)) $(if $(POD_STOP),--pod-stop $(POD_STOP)) \
		$(if $(filter off,$(BERTH)),--berth=false) $(if $(filter off,$(ADAPTER)),--metrics-adapter=false) $(CLUSTER_FLAGS)

.PHONY: cluster-down
cluster-down: ## Stop the cluster NAME and remove every trace of it
	@if [ -x $(CLUSTER_BIN)/berth-cluster ]; then $(CLUSTER_BIN)/berth-cluster down --name $(NAME); fi

.PHONY: cluster-test
cluster-test: cluster-build ## Check on real clusters what test/cluster promises
	cd test/cluster && BERTH_BIN=$(BIN) go test -count=1 -p 1 ./smoke
