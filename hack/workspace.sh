#!/bin/sh
# go.work names every module of the product, for editors; builds and tests run
# with GOWORK=off.
#
#   hack/workspace.sh check    names what differs and fails
#   hack/workspace.sh write    writes go.work
set -eu
cd "$(dirname "$0")/.."

workspace() {
	echo "// Written by make tidy. For editors: builds and tests run with GOWORK=off."
	echo
	# The highest version that a module asks for.
	hack/modules.sh | while read -r module; do
		awk '$1 == "go" {print "go " $2}' "$module/go.mod"
	done | sort -V | tail -n 1
	echo
	echo "use ("
	hack/modules.sh | sed 's|^|\t./|'
	echo ")"
	echo
	# All modules together reach back to a genproto from before it was split,
	# which holds packages that googleapis/rpc holds too.
	awk '$1 == "google.golang.org/genproto/googleapis/rpc" {
		print "replace google.golang.org/genproto => google.golang.org/genproto " $2
	}' proto/go.mod
}

if [ "$1" = write ]; then
	workspace >go.work
	exit
fi
workspace | diff go.work - >&2 || {
	echo "go.work does not name the modules there are (make tidy writes it)" >&2
	exit 1
}
