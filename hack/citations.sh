#!/bin/sh
# Comments and documents cite what a reader has: no document that is not in the
# repository, but for RFCs and addresses.
set -eu
cd "$(dirname "$0")/.."
outside='\bspec (section|sections|note|notes|README)\b|\bspec/[a-z]|\(spec\b|\blessons? [A-Z][0-9]+|\bDESIGN\b|\b([Ss]ection|notes?) [0-9]+'
bad=$(git grep -nIE "(//|#|<!--|^ *\*).*($outside)" -- '*.go' '*.proto' '*.sh' '*.yaml' '*.md' Makefile ':!hack/citations.sh' |
	grep -vE 'RFC [0-9]+|https?://|requests|path: /spec|# /spec/' || true)
for page in $(git grep -hoIE '\bdocs/[A-Za-z0-9_/-]+\.md\b' -- '*.go' '*.proto' '*.sh' '*.yaml' Makefile | sort -u); do
	[ -e "$page" ] || bad="$bad
$page is cited and not there"
done

# docs/architecture.md names files and folders, each with what is in them:
# `place` `Name`, `Name`.
missing=$(tr '\n' ' ' <docs/architecture.md | grep -oE '`[a-z][A-Za-z0-9_/.-]*(\.go|/)`( `[A-Za-z]+`(, `[A-Za-z]+`)*)?' | while read -r names; do
	place=
	for name in $(echo "$names" | tr -d '`,'); do
		if [ -z "$place" ]; then
			place=$name
			[ -e "$place" ] || echo "$place"
		else
			grep -rqE --include='*.go' "^(func (\([^)]*\) )?|type )$name\b" "$place" || echo "$name in $place"
		fi
	done
done)
[ -z "$missing" ] || bad="$bad
docs/architecture.md: $missing"
[ -z "$bad" ] || {
	echo "cited and not in the repository:$bad" >&2
	exit 1
}
