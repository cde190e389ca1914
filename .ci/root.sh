# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Roots of Debian releases, and running programs in them: for the stages of .ci/run that want another
# machine than this one. To be sourced. Wants root and mmdebstrap.

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# The URI of Debian's archive, as this machine's apt has it: neither of security nor of updates.
root_mirror() {
	# shellcheck disable=SC2016 # for apt
	apt-get indextargets --format '$(LABEL) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }'
}

# What apt has to know to get at the mirror: proxies and the like.
root_apt_settings() {
	apt-config dump Acquire | grep -v '^Acquire::IndexTargets'
}

# root_make RELEASE ROOT [MMDEBSTRAP-OPTION...]: in the directory ROOT, with the mirror and the settings of
# this machine's apt. Leaves nothing beside it.
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
	# What the installer writes.
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	printf '127.0.0.1\tlocalhost\n127.0.1.1\tbare\n::1\tlocalhost\n' >"$root/etc/hosts"
}

# In the new namespaces: leaves the machine's root for this one, and runs the command there. (In a chroot
# the kernel refuses user namespaces, hence pivot_root.)
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

# root_run ROOT COMMAND...: with mounts, processes, host name and IPC of its own. The network is this
# machine's. Returns the command's exit code.
root_run() {
	unshare --mount --propagation private --pid --fork --kill-child --uts --ipc \
		bash "${BASH_SOURCE[0]}" --enter "$@" </dev/null
}

if [ "${1-}" = --enter ] && [ "${BASH_SOURCE[0]}" = "$0" ]; then
	shift
	root_enter "$@"
fi
