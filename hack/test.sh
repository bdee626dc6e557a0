#!/bin/sh
# Runs `go test` with the given arguments in every module (or those in
# $MODULES), each on its own, goes on after a failure and names what failed.
#
# A skipped test is a failure too: what cannot run has not been tested. The
# full output of the last run is in bin/test.log.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
export GOWORK=off
mkdir -p "$root/bin"
log=$root/bin/test.log
: >"$log"
failed=
for module in ${MODULES:-$("$root/hack/modules.sh")}; do
	echo "== $module"
	output=$(mktemp)
	status=0
	(cd "$root/$module" && go test -v "$@") >"$output" 2>&1 || status=$?
	cat "$output" >>"$log"
	# The verdict per package, and all that a failure said.
	if [ "$status" -ne 0 ]; then
		grep -vE '^(=== |--- PASS|[[:space:]]+--- PASS|PASS$)' "$output"
		failed="$failed $module"
	else
		grep -E '^(ok|\?|FAIL)[[:space:]]' "$output" | grep -v 'no test files'
	fi
	if grep -E '^[[:space:]]*--- SKIP' "$output"; then
		echo "skipped tests in $module" >&2
		failed="$failed $module"
	fi
	rm -f "$output"
done
[ -z "$failed" ] || {
	echo "failed in:$failed (all output: bin/test.log)" >&2
	exit 1
}
