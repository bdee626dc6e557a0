#!/bin/sh
# Runs a command and fails when it changed any file that matches the given
# patterns of paths: what is generated must be committed as it is generated.
# Works in a tree with uncommitted work and leaves the files as the command
# wrote them.
#
#   hack/unchanged.sh "make generate" '*.pb.go' 'deploy/crds/*.yaml'
set -eu
cd "$(dirname "$0")/.."
run=$1
shift
sums() {
	for pattern in "$@"; do
		find . -name .git -prune -o -path ./bin -prune -o -type f -path "./$pattern" -exec cksum {} +
	done | sort -u
}
before=$(mktemp) after=$(mktemp)
trap 'rm -f "$before" "$after"' EXIT
sums "$@" >"$before"
$run
sums "$@" >"$after"
if ! diff "$before" "$after" >/dev/null; then
	echo "out of date, now rewritten by \"$run\"; commit these:" >&2
	diff "$before" "$after" | awk '/^[<>]/ {print "  " $4}' | sort -u >&2
	exit 1
fi
