# SPDX-License-Identifier: Apache-2.0
# bash completion for rootlesskit(1)
# shellcheck disable=SC2207 # words without blanks, split on purpose

# The number of the word that starts the command, or nothing while it is still options.
_rootlesskit_command_word() {
	local i word
	for ((i = 1; i < cword; i++)); do
		word=${words[i]}
		case $word in
		--)
			echo $((i + 1))
			return
			;;
		-*=*) ;;
		-*)
			# Most options take the next word; these do not.
			case ${word##*-} in
			debug | help | h | version | v | loopback | ipv6 | netns | pidns | cgroupns | utsns | \
				ipcns | transparent) ;;
			sandbox) [[ $word == *dataplane-sandbox ]] || ((i++)) ;;
			*) ((i++)) ;;
			esac
			;;
		*)
			echo "$i"
			return
			;;
		esac
	done
}

# What follows is another command's line. Its number is that among readline's words, which are split
# at = and : as well.
_rootlesskit_command() {
	local n i=0 joined
	for ((n = 0; n < $1; n++)); do
		joined=${COMP_WORDS[i++]}
		while [[ $joined != "${words[n]}" ]] && ((i < COMP_CWORD)); do
			joined+=${COMP_WORDS[i++]}
		done
	done
	_command_offset "$i"
}

_rootlesskit() {
	local cur prev words cword split start
	_init_completion -s -n : || return

	start=$(_rootlesskit_command_word)
	if [[ -n $start ]]; then
		_rootlesskit_command "$start"
		return
	fi
	case $prev in
	--net | -net)
		COMPREPLY=($(compgen -W 'host builtin none slirp4netns vpnkit lxc-user-nic vdeplug_slirp pasta gvisor-tap-vsock auto' -- "$cur"))
		return
		;;
	--port-driver | -port-driver)
		COMPREPLY=($(compgen -W 'none builtin slirp4netns socat implicit pesto gvisor-tap-vsock' -- "$cur"))
		return
		;;
	--slirp4netns-sandbox | --slirp4netns-seccomp | --reaper)
		COMPREPLY=($(compgen -W 'auto true false' -- "$cur"))
		return
		;;
	--propagation)
		COMPREPLY=($(compgen -W 'rprivate rslave rshared private slave shared' -- "$cur"))
		return
		;;
	--source-ip-transparent-backend)
		COMPREPLY=($(compgen -W 'auto nft iptables' -- "$cur"))
		return
		;;
	--copy-up-mode)
		COMPREPLY=($(compgen -W 'tmpfs+symlink' -- "$cur"))
		return
		;;
	--subid-source)
		COMPREPLY=($(compgen -W 'auto dynamic static' -- "$cur"))
		return
		;;
	--dataplane)
		COMPREPLY=($(compgen -W 'auto io_uring epoll' -- "$cur"))
		return
		;;
	--print-semver)
		COMPREPLY=($(compgen -W 'major minor patch' -- "$cur"))
		return
		;;
	--copy-up | --state-dir)
		_filedir -d
		return
		;;
	--slirp4netns-binary | --vpnkit-binary | --pasta-binary | --pesto-binary | --lxc-user-nic-binary)
		_filedir
		return
		;;
	--ifname | --lxc-user-nic-bridge | --outbound-addr)
		_available_interfaces
		return
		;;
	--mtu | --cidr | --egress-deny | --egress-allow | --publish | -p | --workers | --udp-timeout | --evacuate-cgroup2)
		return
		;;
	esac
	$split && {
		# --name= of an option that is on or off
		COMPREPLY=($(compgen -W 'true false' -- "$cur"))
		return
	}
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W '--debug --help --version --print-semver= --copy-up=
			--copy-up-mode= --propagation= --net= --mtu= --cidr= --ifname=
			--disable-host-loopback --ipv6 --detach-netns --egress-deny= --egress-allow=
			--outbound-addr= --lxc-user-nic-binary=
			--lxc-user-nic-bridge= --pasta-binary= --pesto-binary= --slirp4netns-binary=
			--slirp4netns-sandbox= --slirp4netns-seccomp= --vpnkit-binary=
			--port-driver= --publish= --source-ip-transparent=
			--source-ip-transparent-backend= --dataplane= --workers=
			--udp-timeout= --dataplane-sandbox= --pidns --cgroupns --utsns --ipcns
			--reaper= --evacuate-cgroup2= --state-dir= --subid-source=' -- "$cur"))
		[[ ${COMPREPLY-} == *= ]] && compopt -o nospace
		return
	fi
	COMPREPLY=($(compgen -c -- "$cur"))
} && complete -F _rootlesskit rootlesskit
