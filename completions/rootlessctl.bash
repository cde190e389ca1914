# SPDX-License-Identifier: Apache-2.0
# bash completion for rootlessctl(1)
# shellcheck disable=SC2207 # words without blanks, split on purpose

_rootlessctl() {
	local cur prev words cword i command=
	_init_completion || return

	for ((i = 1; i < cword; i++)); do
		case ${words[i]} in
		--socket | -socket | --timeout | -timeout) ((i++)) ;;
		-*) ;;
		*)
			command=${words[i]}
			break
			;;
		esac
	done
	if [[ $prev == --socket || $prev == -socket ]]; then
		_filedir
		return
	fi
	case $command in
	'')
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--socket= --timeout= --debug --help --version' -- "$cur"))
			[[ ${COMPREPLY-} == *= ]] && compopt -o nospace
		else
			COMPREPLY=($(compgen -W 'list-ports add-ports remove-ports info stats events top metrics reload help' -- "$cur"))
		fi
		;;
	metrics)
		[[ $cur == -* ]] && COMPREPLY=($(compgen -W '--http --help' -- "$cur"))
		;;
	stats)
		[[ $cur == -* ]] && COMPREPLY=($(compgen -W '--json --watch --help' -- "$cur"))
		;;
	list-ports)
		[[ $cur == -* ]] && COMPREPLY=($(compgen -W '--json --all --help' -- "$cur"))
		;;
	add-ports | info | events | reload)
		[[ $cur == -* ]] && COMPREPLY=($(compgen -W '--json --help' -- "$cur"))
		;;
	remove-ports)
		# The ids of the ports that are there, when the socket is known.
		COMPREPLY=($(compgen -W "$(rootlessctl list-ports 2>/dev/null |
			sed -n 's/^\([0-9][0-9-]*\) .*/\1/p')" -- "$cur"))
		;;
	help)
		COMPREPLY=($(compgen -W 'list-ports add-ports remove-ports info stats events top metrics reload' -- "$cur"))
		;;
	esac
} && complete -F _rootlessctl rootlessctl
