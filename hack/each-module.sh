#!/bin/sh
# Runs a command in every module of the product, each on its own (GOWORK=off),
# goes on after a failure and names the modules that failed.
#
#   hack/each-module.sh go vet ./...
#   MODULES="proto controller" hack/each-module.sh go test ./...
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
export GOWORK=off
failed=
for module in ${MODULES:-$("$root/hack/modules.sh")}; do
	echo "== $module: $*"
	(cd "$root/$module" && "$@") || failed="$failed $module"
done
[ -z "$failed" ] || {
	echo "failed in:$failed" >&2
	exit 1
}
