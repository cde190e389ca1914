# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Makes roots of Debian releases, and runs programs in them, for stages of .ci/run that need another machine
# than this one. To be sourced. Needs root and mmdebstrap.

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Prints the URI of Debian's archive that this machine's apt uses, not that of security or updates.
root_mirror() {
	# shellcheck disable=SC2016 # for apt
	apt-get indextargets --format '$(LABEL) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }'
}

# Prints the settings that apt needs to reach the mirror, such as proxies.
root_apt_settings() {
	apt-config dump Acquire | grep -v '^Acquire::IndexTargets'
}

# root_make RELEASE ROOT [MMDEBSTRAP-OPTION...]: makes a root of the release in the directory ROOT, with the
# mirror and the settings of this machine's apt. No file is left beside it.
root_make() {
	local release=$1 root=$2 uri
	shift 2

	uri=$(root_mirror)
	[ -n "$uri" ] || die "apt knows no archive of Debian: apt-get update?"
	root_apt_settings >"$root.apt.conf"
	mmdebstrap --quiet --variant=minbase --aptopt="$root.apt.conf" "$@" "$release" "$root" "$uri" ||
		die "cannot make a root of $release"
	chmod 755 "$root"
	mv "$root.apt.conf" "$root/etc/apt/apt.conf.d/90machine"
	# Debian's installer writes these files.
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	printf '127.0.0.1\tlocalhost\n127.0.1.1\tbare\n::1\tlocalhost\n' >"$root/etc/hosts"
}

# Runs in the new namespaces: leaves the machine's root for this one, and runs the command there. pivot_root
# is used because the kernel refuses user namespaces in a chroot.
root_enter() {
	local root=$1 name
	shift

	mount --bind "$root" "$root"
	for name in dev sys; do
		mount --rbind "/$name" "$root/$name"
	done
	mount -t proc proc "$root/proc"
	mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	if ! cd "$root" || ! pivot_root . mnt || ! umount -l /mnt || ! cd /; then
		die "cannot enter $root"
	fi
	hostname bare
	exec env -i HOME=/root LANG=C.UTF-8 TERM=dumb \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# root_run ROOT COMMAND...: runs the command with mounts, processes, host name and IPC of its own. The
# network is this machine's. Returns the command's exit code.
root_run() {
	unshare --mount --propagation private --pid --fork --kill-child --uts --ipc \
		bash "${BASH_SOURCE[0]}" --enter "$@" </dev/null
}

if [ "${1-}" = --enter ] && [ "${BASH_SOURCE[0]}" = "$0" ]; then
	shift
	root_enter "$@"
fi
