#!/bin/sh
# Installs what a node needs (Debian), and tries what it does on this machine.
#
# Ends with 3, and the reason as its last line, where a node cannot be had.
set -eu

cannot() {
	echo "no node here: $*"
	exit 3
}

[ "$(uname -s)" = Linux ] || cannot "it needs Linux"
[ "$(id -u)" -eq 0 ] || cannot "it needs root"

export PATH="$PATH:/usr/sbin:/sbin"
missing() {
	for program in containerd ctr runc nft ip unshare; do
		command -v "$program" >/dev/null || case $program in
		ctr) echo containerd ;;
		nft) echo nftables ;;
		ip) echo iproute2 ;;
		unshare) echo util-linux ;;
		*) echo "$program" ;;
		esac
	done
	[ -x /usr/lib/cni/ptp ] || echo containernetworking-plugins
}

packages=$(missing | sort -u | xargs)
if [ -n "$packages" ]; then
	command -v apt-get >/dev/null || cannot "install $packages"
	export DEBIAN_FRONTEND=noninteractive
	# Nothing of it is to run beside the tests.
	guard=
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		guard=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\nexit 101\n' >"$guard"
		chmod 755 "$guard"
		trap 'rm -f "$guard"' EXIT
	fi
	apt-get update -qq || cannot "apt-get update failed"
	# shellcheck disable=SC2086 # one word per package
	apt-get install -qq -y --no-install-recommends $packages || cannot "apt-get install $packages failed"
	packages=$(missing | sort -u | xargs)
	[ -z "$packages" ] || cannot "$packages are installed and not where they should be"
fi

grep -q ' - cgroup' /proc/self/mountinfo || cannot "no cgroups are mounted"
for group in $(awk '/ - cgroup2? / {print $5}' /proc/self/mountinfo); do
	try=$group/sluice-node-try-$$
	mkdir "$try" 2>/dev/null || cannot "this machine lets nobody make cgroups below $group"
	rmdir "$try"
done

# What the node does, in namespaces that end with the last command.
work=$(mktemp -d)
trap 'rm -rf "$work"; [ -z "${guard:-}" ] || rm -f "$guard"' EXIT
mkdir "$work/lower" "$work/upper" "$work/work" "$work/root"
said=$(unshare --net --mount --pid --uts --ipc --fork --kill-child --mount-proc sh -eu -c '
	mount --make-rprivate /
	mount -t tmpfs tmpfs /run
	mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/root"
	umount "$1/root"
	ip link add try0 type veth peer name try1
	nft "add table ip try; add chain ip try nat { type nat hook prerouting priority -100; }; add rule ip try nat ip daddr 198.18.0.1 tcp dport 443 dnat to 198.18.0.2:6443"
	echo 1 >/proc/sys/net/ipv4/ip_forward
' sh "$work" 2>&1) || cannot "this machine refuses namespaces, mounts or netfilter: $said"
echo "a node can be had"
