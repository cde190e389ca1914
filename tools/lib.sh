# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034 # the variables are used in other files
# What tools/quickstart, tools/check and .ci/run share: Debian packages, the build directory, the
# build. To be sourced; sets `source_dir`.

source_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# Packages to compile. Add a new dependency of meson.build here, too.
packages_build=(gcc libc6-dev meson ninja-build pkg-config python3
	liburing-dev libseccomp-dev libmicrohttpd-dev libjansson-dev libmnl-dev libcap-ng-dev
	libhttp-parser-dev uthash-dev libcmocka-dev)
# Packages to run: newuidmap, setpriv.
packages_run=(uidmap util-linux)
# For the network that tools/quickstart uses.
packages_net=(slirp4netns)
# Programs that the tests run beside ours.
packages_test=(uidmap util-linux iproute2 iputils-ping passwd procps strace curl slirp4netns passt
	socat runc rootlesskit systemd iptables libcap2-bin liblxc-common dnsmasq-base libslirp-dev vdeplug
	libvdeplug-slirp acl nftables wireguard-tools)
# What is not the same after Debian 13: http-parser has a successor, and the programs for QUIC are gone. Neither
# sid nor testing need have a number.
# shellcheck source=/dev/null
if [ -r /etc/os-release ] && (. /etc/os-release && [ "$ID" = debian ] && [ "${VERSION_ID:-14}" -ge 14 ]); then
	packages_build=("${packages_build[@]/libhttp-parser-dev/libllhttp-dev}")
else
	packages_test+=(ngtcp2-client ngtcp2-server)
fi

# Packages to build the Debian packages, and to test those in CI.
packages_package=(build-essential debhelper dh-apparmor)
packages_package_test=(lintian apparmor libcap2-bin man-db systemd bash-completion zsh fish)

say() {
	printf '%s\n' "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Prints the packages that are not installed, on one line.
packages_missing() {
	local name missing=()

	for name; do
		dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed ||
			missing+=("$name")
	done
	printf '%s' "${missing[*]}"
}

# Prints the versions of the packages that meson looks for, which decide the result of a configuration.
packages_state() {
	command -v dpkg-query >/dev/null || return 0
	dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n' "${packages_build[@]}" \
		"${packages_test[@]}" 2>/dev/null | grep '^.i' | sort
}

# Runs apt-get as root. Without root or sudo it fails, and says what root would have to do.
packages_apt() {
	local sudo=()

	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null; then
			say "    not root, and there is no sudo. As root: apt-get install $*"
			return 1
		fi
		sudo=(sudo)
		# Without a terminal nobody can type a password.
		[ -t 0 ] || sudo=(sudo -n)
	fi
	"${sudo[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
			-o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

# packages_install WHAT-FOR PACKAGE...: installs the packages that are missing, and says so. Fails when it
# cannot.
packages_install() {
	local what=$1 missing log
	shift

	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		say "packages to $what: this is not Debian; these packages' contents must be installed: $*"
		return 0
	fi
	missing=$(packages_missing "$@")
	if [ -z "$missing" ]; then
		say "packages to $what: all installed"
		return 0
	fi
	say "packages to $what: installing $missing"
	log=$(mktemp)
	# shellcheck disable=SC2086 # a list of names
	if packages_apt $missing >"$log" 2>&1; then
		rm -f "$log"
		return 0
	fi
	tail -n 15 "$log" | sed 's/^ */    /'
	rm -f "$log"
	say "packages to $what: could not install $missing"
	return 1
}

# Sets `build_dir`: $RINGKIT_BUILD; or build/ in the source tree; or, when somebody else owns that, a
# directory in the user's cache.
build_choose() {
	if [ -n "${RINGKIT_BUILD:-}" ]; then
		build_dir=$RINGKIT_BUILD
		mkdir -p "$build_dir" || die "cannot make the build directory $build_dir"
		build_dir=$(cd -- "$build_dir" && pwd -P)
		return
	fi
	local home=${HOME:-}
	build_dir=$source_dir/build
	if [ -d "$build_dir" ]; then
		[ -w "$build_dir" ] && [ -O "$build_dir" ] && return
	elif mkdir "$build_dir" 2>/dev/null; then
		return
	fi
	# The name depends on the path of the tree, since two trees must not share a build directory. It is
	# never in /tmp, where others could guess the name and put programs into it.
	[ -n "$home" ] || home=$(getent passwd "$(id -u)" | cut -d : -f 6)
	build_dir=${XDG_CACHE_HOME:-$home/.cache}/ringkit/build-$(
		printf '%s' "$source_dir" | cksum | cut -d ' ' -f 1)
	{ mkdir -p "$build_dir" && [ -O "$build_dir" ]; } ||
		die "cannot write to $source_dir/build nor make $build_dir; set RINGKIT_BUILD to a" \
			"directory to build in"
}

# build_run DIR TARGETS [MESON-OPTION...]: builds the targets in DIR. It sets DIR up if that is new, or if
# packages have changed since. TARGETS is one word, separated by blanks; empty: everything, and what the
# tests need. Two runs at once wait for each other.
build_run() {
	local dir=$1 targets=${2:-all meson-test-prereq} setup=() status=0 tool
	shift 2

	for tool in meson ninja python3; do
		command -v "$tool" >/dev/null || die "$tool is not installed: apt-get install meson" \
			"ninja-build python3"
	done
	mkdir -p "$dir" || return 1
	exec 9>"$dir/.lock"
	flock 9
	if [ ! -f "$dir/build.ninja" ]; then
		setup=(meson setup "$@" "$dir" "$source_dir")
	elif ! grep -qsF "\"source\": \"$source_dir\"" "$dir/meson-info/meson-info.json"; then
		setup=(meson setup --wipe "$@" "$dir" "$source_dir") # the tree was moved
	elif [ "$(packages_state)" != "$(cat "$dir/.packages" 2>/dev/null)" ]; then
		# meson remembers which libraries it has found.
		meson configure --clearcache "$dir" >"$dir/setup.log" 2>&1 </dev/null 9>&-
		setup=(meson setup --reconfigure "$@" "$dir" "$source_dir")
	fi
	if [ "${#setup[@]}" != 0 ]; then
		"${setup[@]}" >"$dir/setup.log" 2>&1 </dev/null 9>&- || {
			status=$?
			tail -n 20 "$dir/setup.log" | sed 's/^/    /'
			say "    failed: ${setup[*]}"
		}
		[ "$status" != 0 ] || packages_state >"$dir/.packages"
	fi
	if [ "$status" = 0 ]; then
		# shellcheck disable=SC2086 # a list of names
		ninja -C "$dir" $targets >"$dir/build.log" 2>&1 </dev/null 9>&- || {
			status=$?
			grep -A 12 -m 5 -e '^FAILED' -e 'ERROR' -e 'error:' "$dir/build.log" ||
				tail -n 20 "$dir/build.log"
			say "    failed: ninja -C $dir $targets"
		}
	fi
	exec 9>&-
	return "$status"
}

# tests_run BUILD-DIR [MESON-TEST-ARGUMENT...]: runs tests. Prints a line for each, the output of failed
# ones, the skipped cases with their reasons, and a total as the last line. Most integration tests wait most
# of the time, so more run at a time than there are CPUs. MESON_TESTTHREADS: how many.
tests_run() {
	local dir=$1 status=0 threads=${MESON_TESTTHREADS:-$(($(nproc) + 4))}
	shift

	rm -f "$dir/meson-logs/testlog.json"
	MESON_TESTTHREADS=$threads meson test -C "$dir" --no-rebuild "$@" </dev/null || status=$?
	python3 "$source_dir/tools/summary.py" "$dir/meson-logs/testlog.json" "$status"
}
