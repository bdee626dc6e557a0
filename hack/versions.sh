#!/bin/sh
# Keeps libraries at equal versions in all modules: one that any module
# requires directly stands at the same version wherever it is required.
#
#   hack/versions.sh          names what differs and fails
#   hack/versions.sh raise    raises each to the highest version in use
set -eu
cd "$(dirname "$0")/.."
export GOWORK=off

# module-folder library version direct|indirect
requirements() {
	hack/modules.sh | while read -r module; do
		awk -v module="$module" '
			$1 == "require" && $2 != "(" { print module, $2, $3, ($0 ~ /\/\/ indirect/ ? "indirect" : "direct") }
			$1 == "require" && $2 == "(" { inside = 1; next }
			$1 == ")" { inside = 0 }
			inside && NF >= 2 { print module, $1, $2, ($0 ~ /\/\/ indirect/ ? "indirect" : "direct") }
		' "$module/go.mod"
	done | grep -v ' github.com/sluice-autoscaler/'
}

# library highest-version, for each that differs between modules. The key to
# sort by has "~" for "-": v1.2.3-rc.1 comes before v1.2.3.
different() {
	requirements | awk '{ key = $3; sub(/-/, "~", key); print $0, key }' | sort -k2,2 -k5,5V | awk '
		{ seen[$2] = seen[$2] " " $1 "@" $3; if ($4 == "direct") direct[$2] = 1
		  if (($2 in high) && high[$2] != $3) differs[$2] = 1
		  high[$2] = $3 }
		END { for (l in differs) if (l in direct) print l, high[l], seen[l] }' | sort
}

if [ "${1:-}" = raise ]; then
	different | while read -r library version _; do
		requirements | awk -v l="$library" -v v="$version" '$2 == l && $3 != v {print $1}' | sort -u |
			while read -r module; do
				echo "== $module: $library $version"
				(cd "$module" && go get "$library@$version")
			done
	done
	exit
fi
differences=$(different)
[ -z "$differences" ] || {
	echo "different versions of one library (make tidy raises them):" >&2
	echo "$differences" >&2
	exit 1
}
