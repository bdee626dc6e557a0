# Sluice. `make` lists the targets; bin/ holds everything that is built.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# What ships is built and tested module by module, without the workspace.
export GOWORK := off
# Pinned tools first, then whatever the machine has.
export PATH := $(CURDIR)/bin/tools:$(CURDIR)/bin/cluster:$(PATH)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) \
	-X github.com/sluice-autoscaler/sluice/controller/internal/metrics.Commit=$(COMMIT) \
	-X github.com/sluice-autoscaler/sluice/scalers/scaler.version=$(VERSION)
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
RUN := CGO_ENABLED=0 go run -trimpath
# Where the shipped binaries go; GOOS and GOARCH say for which platform.
OUT ?= bin

# A folder under scalers/ with a main.go is a family; a new one needs no line here.
FAMILIES := $(patsubst scalers/%/main.go,%,$(wildcard scalers/*/main.go))
CORE := $(patsubst %/main.go,%,$(wildcard controller/main.go metrics-adapter/main.go))
SHIPPED := $(CORE) $(FAMILIES:%=scaler-%)
# What users run themselves: it is in no image.
PLUGIN := kubectl-sluice
# Modules whose connections go by the rules of outbound/; the plugin asks the API
# server alone.
DIALLING := outbound identity $(CORE) $(PLUGIN) $(patsubst %/go.mod,%,$(wildcard scalers/*/go.mod scalers/scaler/credentials/go.mod))
GENERATED := '*.pb.go' '*zz_generated*' 'deploy/*.yaml' 'deploy/helm/*' 'deploy/dashboards/*.json' 'docs/helm.md' 'docs/reasons.md' 'docs/runbooks/README.md' 'docs/triggers/*' 'proto/*.proto'

##@ Build
.PHONY: help build processes plugins tools generate docs images release clean
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {print "\n" substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' Makefile

build: processes $(OUT)/$(PLUGIN) ## Build every shipped binary into bin/
processes: $(SHIPPED:%=$(OUT)/%)

# Go's build cache decides what is out of date.
.PHONY: $(SHIPPED:%=$(OUT)/%) $(OUT)/$(PLUGIN)
$(FAMILIES:%=$(OUT)/scaler-%): $(OUT)/scaler-%:
	cd scalers/$* && $(BUILD) -o $(abspath $@) .
$(CORE:%=$(OUT)/%) $(OUT)/$(PLUGIN): $(OUT)/%:
	cd $* && $(BUILD) -o $(abspath $@) .

# As krew wants it: one binary in one archive for each platform, and a manifest.
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
# None is a release without the plugin. DOWNLOAD is where the archives can be had.
DOWNLOAD ?= https://github.com/sluice-autoscaler/sluice/releases/download/$(VERSION)
plugins: ## Build the plugin of kubectl for every platform, packed for krew, into bin/plugin/
	rm -rf bin/plugin && mkdir -p bin/plugin
	for platform in $(PLATFORMS); do \
		os=$${platform%/*}; arch=$${platform#*/}; exe=; [ "$$os" != windows ] || exe=.exe; \
		(cd $(PLUGIN) && GOOS=$$os GOARCH=$$arch $(BUILD) -o $(CURDIR)/bin/plugin/$$os-$$arch/$(PLUGIN)$$exe .) || exit 1; \
	done
	cd deploy && $(RUN) ./krew -binaries $(CURDIR)/bin/plugin -license $(CURDIR)/LICENSE -version '$(VERSION)' -download '$(DOWNLOAD)' -out $(CURDIR)/bin/plugin/archives

# Names and tags of images are those of the manifests.
ARCH ?= amd64 arm64
IMAGE_NAMES ?= $(CURDIR)/deploy/images/kustomization.yaml
images: ## Build an OCI image layout per process, amd64 and arm64, into bin/images/ (ARCH=amd64 for one alone)
	rm -rf bin/linux bin/images
	for arch in $(ARCH); do GOOS=linux GOARCH=$$arch $(MAKE) processes OUT=bin/linux/$$arch || exit 1; done
	cd tools/images && $(RUN) . -binaries $(CURDIR)/bin/linux -names $(IMAGE_NAMES) -version $(VERSION) -out $(CURDIR)/bin/images

# Everything that a release has, under dist/. REGISTRY is what the names of images
# begin with, where they will be pushed to; VERSION is their tag.
REGISTRY ?=
release: bin/tools/cyclonedx-gomod bin/tools/helm ## Write dist/: manifests, chart, images, the plugin, what is in them (SBOM), checksums (VERSION=v1.2.3 REGISTRY=ghcr.io/you)
	rm -rf dist && mkdir -p dist/images dist/sbom
	cd deploy && $(RUN) ./release -repository .. -registry '$(REGISTRY)' -tag '$(VERSION)' -out $(CURDIR)/dist
	$(MAKE) --no-print-directory images IMAGE_NAMES=$(CURDIR)/dist/kustomization.yaml
	mv bin/images/*.tar dist/images/ && rm dist/kustomization.yaml
	helm package dist/chart/sluice --destination dist && rm -r dist/chart
	$(if $(PLATFORMS),$(MAKE) --no-print-directory plugins)
	$(if $(PLATFORMS),mv bin/plugin/archives dist/plugin)
	for binary in bin/linux/*/* $(if $(PLATFORMS),bin/plugin/*-*/$(PLUGIN)*); do \
		arch=$$(basename $$(dirname $$binary)); \
		cyclonedx-gomod bin -json -noserial -notimestamp -std -version '$(VERSION)' \
			-output dist/sbom/$$(basename $$binary .exe)-$$arch.cdx.json $$binary || exit 1; \
	done
	cd dist && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | sed 's|^\./||' | xargs sha256sum >SHA256SUMS

bin/tools/cyclonedx-gomod: tools/sbom/go.mod tools/sbom/go.sum
	cd tools/sbom && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/bin/tools/ tool && touch $(CURDIR)/$@

tools: bin/tools/.generators bin/tools/.linters bin/tools/dials bin/tools/helm ## Build the pinned generators and linters into bin/tools/
bin/tools/.generators: tools/go.mod tools/go.sum
	cd tools && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/bin/tools/ tool && touch $(CURDIR)/$@
bin/tools/.linters: tools/lint/go.mod tools/lint/go.sum
	@echo "building golangci-lint and buf, a few minutes the first time"
	cd tools/lint && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/bin/tools/ tool && touch $(CURDIR)/$@

# By itself a Helm from its module knows neither its version nor that of the
# Kubernetes that it renders for without a cluster.
HELM := helm.sh/helm/v3
bin/tools/helm: tools/helm/go.mod tools/helm/go.sum
	cd tools/helm && version=$$(go list -m -f '{{.Version}}' $(HELM)) && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w \
		-X $(HELM)/internal/version.version=$$version \
		-X $(HELM)/pkg/chartutil.k8sVersionMajor=1 -X $(HELM)/pkg/chartutil.k8sVersionMinor=37 \
		-X $(HELM)/pkg/lint/rules.k8sVersionMajor=1 -X $(HELM)/pkg/lint/rules.k8sVersionMinor=37" \
		-o $(CURDIR)/$@ $(HELM)/cmd/helm

bin/tools/gitops: $(wildcard test/gitops/*.go) test/gitops/go.mod
	cd test/gitops && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/$@ .

bin/tools/dials: $(wildcard tools/dials/*.go) tools/dials/go.mod
	cd tools/dials && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/$@ .

generate: tools ## Write all generated code, CRDs, manifests of families and reference pages
	buf format -w
	buf generate
	CONTROLLER_GEN=$(CURDIR)/bin/tools/controller-gen sh controller/generate.sh
	sh scalers/scaler/generate.sh

# Python's packages are pinned with their checksums; nothing else is installed.
MKDOCS := bin/tools/site/bin/mkdocs
$(MKDOCS): tools/site/requirements.txt
	rm -rf bin/tools/site
	python=python3; python3 -c 'import ensurepip, venv' 2>/dev/null || python=/usr/bin/python3; $$python -m venv bin/tools/site
	bin/tools/site/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r tools/site/requirements.txt
	touch $@

docs: $(MKDOCS) ## Write the site of docs/ to bin/site, to be opened as files or served; its links are checked
	NO_MKDOCS_2_WARNING=1 $(MKDOCS) build --quiet --strict --config-file tools/site/mkdocs.yml
	cd tools/site && $(RUN) . $(CURDIR)/bin/site

proto-baseline: tools ## Accept the present wire contract as the one not to break
	buf build -o proto/baseline.binpb

tidy: ## Tidy every module, raise shared libraries to equal versions, write go.work
	hack/versions.sh raise
	hack/each-module.sh go mod tidy
	hack/workspace.sh write

clean: ## Remove what was built; keeps tools, servers and the control plane
	rm -rf $(SHIPPED:%=bin/%) bin/$(PLUGIN) bin/plugin bin/linux bin/images bin/site bin/node/release bin/node/images bin/node/pause bin/node/binaries dist

##@ Check
.PHONY: check check-docs check-generated check-proto check-format check-modules check-lint check-deploy check-vulnerabilities
check: check-modules check-format check-proto check-generated check-docs check-deploy check-lint check-vulnerabilities ## All checks that need no cluster

check-modules: ## go.mod tidy, equal versions of shared libraries, go.work complete
	hack/versions.sh
	hack/each-module.sh go mod tidy -diff
	hack/workspace.sh check

check-format: ## gofmt, also of generated code; comments cite what is here
	hack/citations.sh
	@files=$$(gofmt -l $$(hack/modules.sh) | sort -u); \
	[ -z "$$files" ] || { echo "not formatted with gofmt:"; echo "$$files"; exit 1; }

check-proto: tools ## buf lint, format and breaking against proto/baseline.binpb
	buf lint
	buf format -d --exit-code
	buf breaking --against proto/baseline.binpb

check-generated: tools ## Generated files are committed as they are generated
	hack/unchanged.sh "$(MAKE) --no-print-directory generate" $(GENERATED)

# Go's test cache knows nothing of files outside of the module, hence -count=1.
check-docs: docs ## The site of docs/ is made without a warning, links and places within it are there, examples are of objects that there are
	cd tools/site && CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' go test -count=1 ./...
	cd controller && CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' go test -count=1 -run 'Pages|Reason' ./api/v1alpha1 ./reasons

check-deploy: bin/tools/helm ## Every kustomization and the chart render to objects that decode strictly
	cd deploy && CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' go test ./...

# Built as what ships is built, so that both use the same build cache.
check-lint: tools ## golangci-lint (go vet included) in every module; no connection passes by outbound/
	CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' hack/each-module.sh golangci-lint run ./...
	CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' MODULES="$(DIALLING)" hack/each-module.sh dials -test=false ./...

# Known vulnerabilities, as of a version of Go's database that the module proxy
# has; VULNDB=https://vuln.go.dev asks for today's.
VULNDB_VERSION := v0.0.0-20261105234957-e22db6528018
VULNDB ?= file://$(CURDIR)/bin/vulndb/$(VULNDB_VERSION)
bin/vulndb/$(VULNDB_VERSION):
	rm -rf bin/vulndb
	go mod download golang.org/x/vulndb@$(VULNDB_VERSION)
	CGO_ENABLED=0 go run -trimpath golang.org/x/vulndb/cmd/indexdb@$(VULNDB_VERSION) \
		-vulns "$$(go env GOMODCACHE)/golang.org/x/vulndb@$(VULNDB_VERSION)/data/osv" -out $@.part
	mv $@.part $@

check-vulnerabilities: bin/vulndb/$(VULNDB_VERSION) ## No module links what has a known vulnerability
	cd tools/vulncheck && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/bin/tools/ .
	hack/each-module.sh vulncheck $(VULNDB)

##@ Test
.PHONY: test test-unit test-e2e test-scenarios test-faults test-attacks test-node test-servers cluster-binaries node-binaries fuzz
# Scenarios mostly wait, unit tests mostly compute: side by side they need
# little more than the longer of the two.
test: test-servers ## Everything: servers, unit tests, end-to-end scenarios and attacks
	$(MAKE) --no-print-directory -j3 test-unit test-scenarios test-faults
	$(MAKE) --no-print-directory test-attacks

# One module after the other, so that the two cores go to one build at a time.
# Manifests race with nothing: they are tested as they are in check. Nor does what
# is held against Kubernetes' own HPA controller, which takes long to build.
test-unit: check-deploy ## Tests of every module but test/, with the race detector; fuzz
	MODULES="$$(hack/modules.sh | grep -vxE 'test|test/hpa|deploy' | xargs)" LOG=test-unit.log hack/test.sh -race ./...
	CGO_ENABLED=0 MODULES=test/hpa LOG=test-hpa.log hack/test.sh ./...
	$(MAKE) --no-print-directory fuzz

fuzz: ## Every fuzz target for some inputs, or a time (FUZZTIME=5m)
	hack/fuzz.sh

test-e2e: ## End-to-end scenarios on local control planes
	$(MAKE) --no-print-directory -j2 test-scenarios test-faults

# The race detector would see these tests and not the processes that they
# drive; without it the build of what ships serves the tests too. Go's test
# cache knows nothing of those processes, hence -count=1. Scenarios that end or
# cut off what others use have a control plane of their own. The parallel ones
# mostly wait, so that more of them than there are cores may.
test-scenarios: RUNS = -skip '^TestFault' ./brokers/... ./cmd/... ./e2e ./localcluster/...
test-faults: RUNS = -run '^TestFault' ./e2e
test-scenarios test-faults: build cluster-binaries bin/tools/.generators bin/tools/helm bin/tools/gitops
	CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' MODULES=test LOG=$@.log SHOW='^(ok|FAIL|---)' \
		hack/test.sh -count=1 -parallel 6 -timeout 30m $(RUNS)

# Attacks take a machine for themselves: each process is held to its memory
# limit, and who is not attacked must not wait.
test-attacks: build cluster-binaries bin/tools/.generators ## What enemies do, to the real processes on a local control plane
	CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' MODULES=test LOG=$@.log SHOW='^(ok|FAIL|---)' \
		hack/test.sh -count=1 -parallel 6 -timeout 30m ./attacks

# What a release has, on a real kubelet, as users get it: packed as make release
# does, from the binaries that all tests use. Nothing is pulled, so that the image
# of Pods which are not ours is made here, too.
NODE := bin/node
test-node: build cluster-binaries node-binaries bin/tools/helm ## A release on a node of containerd and a real kubelet (Debian, root): install, scale Pods, upgrade, uninstall
	test/node/install.sh
	rm -rf $(NODE)/binaries $(NODE)/pause $(NODE)/images $(NODE)/release && mkdir -p $(NODE)/release/images
	arch=$$(go env GOARCH) && mkdir -p $(NODE)/binaries/$$arch $(NODE)/pause/$$arch && \
		ln $(SHIPPED:%=bin/%) $(NODE)/binaries/$$arch && \
		cd test && $(BUILD) -o $(CURDIR)/$(NODE)/pause/$$arch/pause ./node/pause
	cd deploy && $(RUN) ./release -repository .. -registry localhost/sluice-node -tag v0.0.0-node -out $(CURDIR)/$(NODE)/release
	cd tools/images && $(RUN) . -binaries $(CURDIR)/$(NODE)/binaries -names $(CURDIR)/$(NODE)/release/kustomization.yaml -out $(CURDIR)/$(NODE)/release/images
	cd tools/images && $(RUN) . -binaries $(CURDIR)/$(NODE)/pause -names $(CURDIR)/test/node/pause/images.yaml -out $(CURDIR)/$(NODE)/images
	helm package $(NODE)/release/chart/sluice --destination $(NODE)/release
	CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' MODULES=test LOG=$@.log SHOW='^(ok|FAIL|---|node:)' \
		hack/test.sh -count=1 -failfast -timeout 10m ./node

test-servers: ## Install the real servers that tests use (Debian; names them elsewhere)
	test/servers/install.sh

cluster-binaries: ## Build Kubernetes, etcd and kwok from Go modules into bin/cluster/
	cd test && $(RUN) ./cmd/cluster build

node-binaries: ## Build kubelet and kube-proxy from Go modules into bin/node/
	cd test && $(RUN) ./cmd/cluster build node

##@ Run
.PHONY: cluster demo bench bench-families blast-radius
cluster: build cluster-binaries ## Start a local cluster with Sluice on it, until Ctrl-C
	cd test && $(RUN) ./cmd/cluster up

demo: build cluster-binaries ## Show a backlog scaling a Deployment 0 -> N -> 0 (BROKER=kafka|rabbitmq for a real one)
	cd test && $(RUN) ./cmd/demo

OBJECTS ?= 1000
bench: build cluster-binaries ## Measure latency, memory, connections and API writes with 1,000 objects (OBJECTS=5000 with more); prints a table
	cd test && $(RUN) ./cmd/bench -objects $(OBJECTS)

bench-families: build cluster-binaries test-servers ## What a family costs with a thousand triggers against its server, and how soon it notices work
	@grep -l '^func Benchmark' scalers/*/*_test.go | xargs -n1 dirname | sort -u | while read -r family; do \
		(cd $$family && go test -run '^$$' -bench . -benchtime 3x . | grep -E '^(Benchmark|FAIL|--- )' | sed "s|^|$$family |") || exit 1; \
	done
	cd test && $(RUN) ./cmd/families

OVERLAY ?= deploy/overlays/all
blast-radius: cluster-binaries ## Tell which ServiceAccount may read which Secrets, by the manifests of OVERLAY
	@kubectl kustomize $(OVERLAY) | (cd deploy && $(RUN) ./blastradius)
