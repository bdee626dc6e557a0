#!/bin/sh
# Generates what follows from the API types: deep copies beside them and the
# CRDs in deploy/crds. CONTROLLER_GEN names another binary to do it.
set -eu
cd "$(dirname "$0")"

controller_gen() {
	if [ -n "${CONTROLLER_GEN:-}" ]; then
		"$CONTROLLER_GEN" "$@"
	else
		GOWORK=off go tool -modfile=../tools/go.mod controller-gen "$@"
	fi
}

controller_gen \
	object:headerFile=/dev/null paths=./api/...
controller_gen \
	crd:maxDescLen=400,generateEmbeddedObjectMeta=true paths=./api/... \
	output:crd:artifacts:config=../deploy/crds
CGO_ENABLED=0 GOWORK=off go run -trimpath ./internal/crd ../deploy/crds/keda.sh_scaledjobs.yaml ../deploy/crds/keda.sh_scaledobjects.yaml
CGO_ENABLED=0 GOWORK=off go run -trimpath ./internal/reasonsdoc >../docs/reasons.md
