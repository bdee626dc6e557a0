#!/bin/sh
# Runs `go test` with the given arguments in every module (or those in
# $MODULES), each on its own, goes on after a failure and names what failed.
#
# Shows the verdict per package as it comes ($SHOW, a regular expression,
# chooses other lines), and all that a failed module said. A skipped test is a
# failure too: what cannot run has not been tested. The full output of the
# last run is in bin/$LOG (test.log).
#
# What go vet finds is found by make check; for each way of building it would go
# through all that a package links once more.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
export GOWORK=off
mkdir -p "$root/bin"
log=$root/bin/${LOG:=test.log}
: >"$log"
output=$(mktemp) verdict=$(mktemp)
trap 'rm -f "$output" "$verdict"' EXIT
failed=
for module in ${MODULES:-$("$root/hack/modules.sh")}; do
	echo "== $module"
	{
		cd "$root/$module" && go test -vet=off -v "$@" 2>&1
		echo "$?" >"$verdict"
	} | tee "$output" | grep --line-buffered -E "${SHOW:-^(ok|FAIL)[[:space:]]}"
	cat "$output" >>"$log"
	if [ "$(cat "$verdict")" != 0 ]; then
		echo "-- $module failed and said:"
		grep -vE '^(=== |--- PASS|[[:space:]]+--- PASS|PASS$|ok[[:space:]]|\?[[:space:]])' "$output"
		failed="$failed $module"
	fi
	if grep -E '^[[:space:]]*--- SKIP' "$output"; then
		echo "-- skipped tests in $module" >&2
		failed="$failed $module"
	fi
done
[ -z "$failed" ] || {
	echo "failed in:$failed (all output: bin/$LOG)" >&2
	exit 1
}
