#!/bin/sh
# Runs every fuzz target for $FUZZTIME, 500 inputs or a time such as 5m, one
# after the other: on a busy machine Go takes the end of a short time for a
# failure. Their seeds are tests like any other; this looks a little further each
# time. What it finds is left in testdata/fuzz of the package, as a seed.
#
# A time is guided by what inputs reach, for which Go builds all that a package
# links anew. For a few inputs that costs far more than they do, and leads
# nowhere yet: these are run by a test as it is built anyway.
set -eu
cd "$(dirname "$0")/.."
export GOWORK=off CGO_ENABLED=0
: "${FUZZTIME:=500x}"
case $FUZZTIME in *x) guided= ;; *) guided=-fuzz=^Fuzz ;; esac
known=$(go env GOCACHE)/fuzz/github.com/sluice-autoscaler/sluice
binary=$(mktemp)
trap 'rm -f "$binary"' EXIT
built=
git grep -E --untracked '^func Fuzz[A-Za-z0-9]+\(' -- '*_test.go' | while IFS=: read -r file signature; do
	package=$(dirname "$file")
	target=$(expr "$signature" : 'func \([A-Za-z0-9]*\)')
	echo "== $package $target"
	# shellcheck disable=SC2086 # one argument or none
	[ "$package" = "$built" ] || (cd "$package" && go test -vet=off -trimpath $guided -c -o "$binary" .)
	built=$package
	(cd "$package" && "$binary" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$FUZZTIME" -test.fuzzcachedir "$known/$package") </dev/null
done
