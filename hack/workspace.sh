#!/bin/sh
# Compares go.work with the modules there are. go.work is for editors; builds
# and tests run with GOWORK=off.
set -eu
cd "$(dirname "$0")/.."
uses=$(mktemp) modules=$(mktemp)
trap 'rm -f "$uses" "$modules"' EXIT
GOWORK=$PWD/go.work go work edit -json | awk -F'"' '/"DiskPath"/ {sub("^\\./", "", $4); print $4}' | sort >"$uses"
hack/modules.sh >"$modules"
diff "$uses" "$modules" >&2 || {
	echo "go.work and the modules differ (< only in go.work, > missing there)" >&2
	exit 1
}
