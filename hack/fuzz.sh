#!/bin/sh
# Runs every fuzz target for $FUZZTIME, 500 inputs or a time such as 5m, one
# after the other: on a busy machine Go takes the end of a short time for a
# failure. Their seeds are tests like any other; this looks a little further each
# time. What it finds is left in testdata/fuzz of the package, as a seed.
set -eu
cd "$(dirname "$0")/.."
export GOWORK=off CGO_ENABLED=0
git grep -E --untracked '^func Fuzz[A-Za-z0-9]+\(' -- '*_test.go' | while IFS=: read -r file signature; do
	target=$(expr "$signature" : 'func \([A-Za-z0-9]*\)')
	echo "== $(dirname "$file") $target"
	(cd "$(dirname "$file")" && go test -trimpath -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-500x}" .) </dev/null
done
