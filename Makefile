# Copyright The Berth Authors.
# SPDX-License-Identifier: Apache-2.0

BIN := $(CURDIR)/bin
KUBE_VERSION := v1.36.4
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# The newest that is built on the v0.36 libraries: its schemas are those that this API server knows.
CONTROLLER_GEN := sigs.k8s.io/controller-tools/cmd/controller-gen@v0.21.0
# Compiles protocols without a protoc to install; what it runs to write Go is in buf.gen.yaml beside each.
BUF := github.com/bufbuild/buf/cmd/buf@v1.75.0

# Parts of k8s.io/kubernetes parse their own version and fail without this stamp.
LDFLAGS := -X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION) \
	-X k8s.io/component-base/version.gitMajor=1 \
	-X k8s.io/component-base/version.gitMinor=36

# Packages of test/cluster to check. cmd/berth-kube is one file that imports all of Kubernetes, which a checker would
# then read from source; the compiler checks it.
CLUSTER_CHECKED := ./adapter ./cmd/berth-cluster ./layout ./lifecycle ./smoke ./storage

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build berth-scheduler, berth-autoscaler and kubectl-berth into bin/
	@mkdir -p $(BIN)
	go build -ldflags "$(LDFLAGS)" -o $(BIN)/ ./cmd/...
	@ln -sf kubectl-berth $(BIN)/kubectl_complete-berth

include test/cluster/cluster.mk

.PHONY: unit
unit: ## Run the tests that need no cluster
	go test -p 2 $$(go list ./... | grep -v -e /test/e2e -e '/test/perf$$')
	cd test/cluster && go test -p 2 $$(go list ./... | grep -v /smoke)

.PHONY: e2e
e2e: build cluster-build ## Run the tests that need a control plane, on one they start and stop (or on KUBECONFIG)
	BERTH_BIN=$(BIN) go test -count=1 -timeout 40m ./test/e2e/...

.PHONY: test
test: unit cluster-test e2e ## Run every test

.PHONY: demo
demo: build cluster-build ## Build everything, start a control plane and tell the story (STAY=1 leaves it up)
	go run ./test/demo --bin $(BIN) $(if $(STAY),--stay)

.PHONY: fuzz
fuzz: ## Fuzz every parser for a while (FUZZTIME=30s each), and play STORIES=10000 through upstream's HPA controller and Berth's
	@set -e; for pkg in $$(grep -rlE 'func Fuzz' --include=*_test.go . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -hoE 'func Fuzz[A-Za-z]+' $$pkg/*_test.go | cut -c6-); do \
			go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(FUZZTIME),30s) $$pkg; done; done
	go test -v -count=1 -timeout 6h -run '^TestStoriesMatchUpstream$$' ./autoscaler/horizontal -stories $(or $(STORIES),10000) -seed $(or $(SEED),1)

.PHONY: storm
storm: ## Let the load of a whole cluster fall to a third, in virtual time (NODES=300, SETS=40, ten pods for each node, THRESHOLD=0.95)
	go test -v -count=1 -timeout 1h -run '^TestConsolidationStorm$$' ./autoscaler -storm.nodes $(or $(NODES),300) -storm.sets $(or $(SETS),40) -storm.threshold $(or $(THRESHOLD),0.95)

.PHONY: bench
bench: ## Run the benchmarks
	go test -run '^$$' -bench . -benchmem $$(go list ./... | grep -v -e /test/e2e -e '/test/perf$$')

PERF_OUT := $(CURDIR)/dist/perf

.PHONY: perf
perf: cluster-build ## Compare the shipped profile with the stock one on scheduler_perf (SIZE=medium|short, CASE=BoundZonal, ROUNDS=3)
	PATH="$(CLUSTER_BIN):$$PATH" ETCD_UNSAFE_NO_FSYNC=true ARTIFACTS=$(PERF_OUT) BERTH_PERF_OUT=$(PERF_OUT) BERTH_PERF_ROUNDS=$(ROUNDS) \
		go test -ldflags "$(LDFLAGS)" -run '^$$' -bench '^BenchmarkProfiles$$/$(CASE)' -benchtime 1ns -timeout 6h ./test/perf \
		-perf-scheduling-label-filter=$(or $(SIZE),performance)

.PHONY: perf-hpa
perf-hpa: build cluster-build ## Compare the time from new metrics to all scales written with kube-controller-manager's (HPAS=100, PODS=10, ROUNDS=3)
	go run ./test/perf/horizontal --bin $(BIN) $(if $(HPAS),--hpas $(HPAS)) $(if $(PODS),--pods $(PODS)) $(if $(ROUNDS),--rounds $(ROUNDS))

API := plugins/api/v1alpha1
PROTOS := autoscaler/cloud/externalgrpc/protos
GENERATED := $(API)/zz_generated.deepcopy.go manifests/crd/berth.dev_placementpolicies.yaml \
	$(PROTOS)/externalgrpc.pb.go $(PROTOS)/externalgrpc_grpc.pb.go

.PHONY: generate
generate: ## Write the CRD and the deep copies from the types of the API, and the Go of the external providers' protocol
	go run $(CONTROLLER_GEN) paths=./$(API) \
		object:headerFile=plugins/api/boilerplate.go.txt \
		crd:headerFile=plugins/api/boilerplate.yaml.txt output:crd:dir=manifests/crd
	cd $(PROTOS) && go run $(BUF) generate .

.PHONY: lint
lint:
	go run $(GOLANGCI_LINT) run ./...
	cd test/cluster && go run $(GOLANGCI_LINT) run --config ../../.golangci.yml $(CLUSTER_CHECKED)

.PHONY: verify
verify: ## Check tidiness, formatting, generated files, vet, lint and manifests, and that the work tree is clean
	go mod tidy -diff
	cd test/cluster && go mod tidy -diff
	@unformatted="$$(gofmt -l .)" && test -z "$$unformatted" || { echo "verify: not as gofmt has it:"; echo "$$unformatted"; exit 1; } >&2
	$(MAKE) --no-print-directory generate
	git diff --exit-code -- $(GENERATED)
	go vet ./...
	cd test/cluster && go vet $(CLUSTER_CHECKED)
	$(MAKE) --no-print-directory lint
	go test ./manifests/...
	@changed="$$(git status --porcelain)" && test -z "$$changed" || { echo "verify: the work tree is not clean:"; echo "$$changed"; exit 1; } >&2
	@echo "verify: clean"

.PHONY: image
image: ## Build the image IMAGE that holds berth-scheduler and berth-autoscaler, with ENGINE (docker, podman, buildah, nerdctl)
	@mkdir -p dist/image
	CGO_ENABLED=0 GOOS=linux go build -ldflags "-s -w $(LDFLAGS)" -o dist/image/ ./cmd/berth-scheduler ./cmd/berth-autoscaler
	$(or $(ENGINE),docker) build -f manifests/image/Dockerfile -t $(or $(IMAGE),berth:dev) dist/image

.PHONY: clean
clean: cluster-down ## Stop the cluster NAME and remove what was built
	rm -rf $(BIN) dist
