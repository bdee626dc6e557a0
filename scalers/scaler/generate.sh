#!/bin/sh
# Generates what follows from the doc comments of params structs: what Describe
# says of each parameter, and from that a reference page per trigger type in
# docs/triggers, with the example in docs/examples, and an index; the manifests
# of every family in deploy, and what the plugin of kubectl knows of families. A
# folder beside this one with a main.go is a family.
set -eu
cd "$(dirname "$0")"
export GOWORK=off CGO_ENABLED=0

families=
for main in ../*/main.go; do
	[ -f "$main" ] && families="$families $(dirname "$main")"
done
# shellcheck disable=SC2086 # a list of folders
go run -trimpath ./cmd/docgen client credentials/amazon credentials/google $families

pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
for family in $families; do
	(cd "$family" && go run -trimpath . --describe) >>"$pages/described"
done
go run -trimpath ./cmd/triggerdocs "$pages/triggers" ../../docs/examples <"$pages/described"
mkdir -p ../../docs/triggers
rm -f ../../docs/triggers/*.md # a type that is gone has no page
cp "$pages"/triggers/*.md ../../docs/triggers/
(cd ../../deploy && go run -trimpath ./generate ..) <"$pages/described"
(cd ../../deploy && go run -trimpath ./plugin ..) <"$pages/described"
