#!/bin/sh
# Prints the folder of every Go module of the product, one a line.
#
# Left out: tools, tools/lint, tools/sbom and tools/helm (only pins of programs,
# no code of ours) and test/cluster (only the pins that build a Kubernetes
# control plane). Their versions follow those programs and must not raise what
# we ship.
set -eu
cd "$(dirname "$0")/.."
find . -name go.mod -not -path './bin/*' -not -path '*/testdata/*' -not -path '*/node_modules/*' |
	sed 's|^\./||; s|/go\.mod$||' |
	grep -vxE 'tools|tools/lint|tools/sbom|tools/helm|test/cluster' |
	sort
