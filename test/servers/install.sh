#!/bin/sh
# Installs what the tests need besides Go: real servers and what runs them.
#
#   system   rabbitmq-server, Redis, PostgreSQL, MariaDB, Prometheus, containerd,
#            a Java 17 runtime, a C compiler, ip, iptables, Maven, python3 with venv and
#            Qpid Proton, npm, Chromium: on
#            Debian with apt-get, as root or with sudo; elsewhere the script
#            names what is missing.
#   Kafka    the jars of kafka-dist/pom.xml, into <repository>/bin/kafka
#   Azurite  azurite-dist/package-lock.json, into <repository>/bin/azurite
#   Python   python-requirements.txt (Moto among it), into the venv <repository>/bin/python
#
# Running it again installs what is missing and nothing else. No server is
# started, and none that it installs is started at boot either.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$here/../.." && pwd)/bin

say() { printf 'test-servers: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

# checksum FILE identifies the content of a file.
checksum() { cksum <"$1" | tr ' ' -; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif has sudo; then
		sudo "$@"
	else
		say "root or sudo is needed for: $*" >&2
		exit 1
	fi
}

# The system's own java is asked by name alone: starting it takes longer than
# everything else together when nothing is missing.
has_java() {
	[ -x "${JAVA_HOME:-/nonexistent}/bin/java" ] || has java
}

has_rabbitmq() {
	PATH=$PATH:/usr/sbin has rabbitmq-server && has epmd
}

# Debian keeps PostgreSQL's server out of PATH.
has_postgresql() {
	for postgres in /usr/lib/postgresql/*/bin/postgres; do
		[ ! -x "$postgres" ] || return 0
	done
	has postgres
}

# missing_packages prints the Debian packages of what is not there.
missing_packages() {
	has_rabbitmq || echo rabbitmq-server
	has redis-server || echo redis-server
	has redis-sentinel || echo redis-sentinel
	has_postgresql || echo postgresql
	PATH=$PATH:/usr/sbin has mariadbd || echo mariadb-server
	has prometheus || echo prometheus
	has containerd || echo containerd
	has_java || echo default-jre-headless
	has cc || has gcc || echo gcc libc6-dev
	PATH=$PATH:/usr/sbin:/sbin has ip || echo iproute2
	PATH=$PATH:/usr/sbin:/sbin has iptables || echo iptables
	[ -e "$bin/kafka/.installed-$kafka" ] || has mvn || echo maven
	/usr/bin/python3 -c 'import proton' >/dev/null 2>&1 || echo python3-qpid-proton
	has node || echo nodejs
	has chromium || echo chromium
	[ -e "$bin/azurite/.installed-$azurite" ] || has npm || echo npm
	[ -e "$bin/python/.installed-$python" ] ||
		python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || echo python3 python3-venv
}

# install_packages NAME... keeps Debian from starting the services it installs,
# now and at boot.
install_packages() {
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
		as_root chmod 755 $policy
		trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
	fi
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
	[ -d /run/systemd/system ] || return 0
	for service in rabbitmq-server redis-server redis-sentinel postgresql mariadb prometheus containerd; do
		case " $* " in
		*" $service"*) as_root systemctl disable --now --quiet "$service" || true ;;
		esac
	done
}

install_kafka() {
	say "Apache Kafka into bin/kafka"
	rm -rf "$bin/kafka" "$bin/kafka.partial"
	mvn -B -q -Dstyle.color=never -f "$here/kafka-dist/pom.xml" dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$bin/kafka.partial/libs"
	: >"$bin/kafka.partial/.installed-$kafka"
	mv "$bin/kafka.partial" "$bin/kafka"
}

install_azurite() {
	say "Azurite into bin/azurite"
	rm -rf "$bin/azurite" "$bin/azurite.partial"
	mkdir -p "$bin/azurite.partial"
	cp "$here/azurite-dist/package.json" "$here/azurite-dist/package-lock.json" "$bin/azurite.partial"
	npm ci --prefix "$bin/azurite.partial" --no-audit --no-fund --loglevel=error >&2
	: >"$bin/azurite.partial/.installed-$azurite"
	mv "$bin/azurite.partial" "$bin/azurite"
}

install_python() {
	say "Python packages into bin/python"
	rm -rf "$bin/python"
	# A venv needs a Python with ensurepip; Debian's has it when another
	# python3 comes first in PATH without.
	interpreter=python3
	python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || interpreter=/usr/bin/python3
	"$interpreter" -m venv "$bin/python"
	"$bin/python/bin/pip" install -q --disable-pip-version-check -r "$here/python-requirements.txt"
	: >"$bin/python/.installed-$python"
}

kafka=$(checksum "$here/kafka-dist/pom.xml")
python=$(checksum "$here/python-requirements.txt")
azurite=$(checksum "$here/azurite-dist/package-lock.json")
mkdir -p "$bin"

# One at a time: two runs would write the same folders.
if has flock && [ "${SLUICE_INSTALL_LOCKED:-}" != 1 ]; then
	SLUICE_INSTALL_LOCKED=1 exec flock "$bin/.test-servers.lock" "$0" "$@"
fi

packages=$(missing_packages | tr '\n' ' ')
if [ -n "$packages" ]; then
	if ! has apt-get; then
		say "not a Debian system; install what these Debian packages hold: $packages" >&2
		exit 1
	fi
	say "installing $packages"
	# shellcheck disable=SC2086 # a list of names
	install_packages $packages
fi
[ -e "$bin/kafka/.installed-$kafka" ] || install_kafka
[ -e "$bin/python/.installed-$python" ] || install_python
[ -e "$bin/azurite/.installed-$azurite" ] || install_azurite
say "everything is installed"
