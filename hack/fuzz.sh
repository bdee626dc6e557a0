#!/bin/sh
# Runs every fuzz target for $FUZZTIME (2s), one after the other. Their seeds
# are tests like any other; this looks a little further each time. What it finds
# is left in testdata/fuzz of the package, as a seed.
set -eu
cd "$(dirname "$0")/.."
export GOWORK=off CGO_ENABLED=0
git grep -E --untracked '^func Fuzz[A-Za-z0-9]+\(' -- '*_test.go' | while IFS=: read -r file signature; do
	target=$(expr "$signature" : 'func \([A-Za-z0-9]*\)')
	echo "== $(dirname "$file") $target"
	(cd "$(dirname "$file")" && go test -trimpath -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-2s}" .) </dev/null
done
