# SPDX-License-Identifier: Apache-2.0
# fish completion for rootlessctl(1)

set -l commands list-ports add-ports remove-ports info stats events top metrics reload help

complete -c rootlessctl -f
complete -c rootlessctl -l socket -r -F -d 'path of api.sock'
complete -c rootlessctl -l timeout -x -d 'how long to wait for an answer'
complete -c rootlessctl -l debug -d 'debug mode'
complete -c rootlessctl -l help -s h -d 'show help'
complete -c rootlessctl -l version -s v -d 'print the version'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a list-ports -d 'list ports'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a add-ports -d 'add ports'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a remove-ports -d 'remove ports'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a info -d 'show info'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a stats -d 'show counters'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a events -d 'show what happens'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a top -d 'show the busiest ports, live'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a metrics -d 'show counters for Prometheus'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a reload -d 'start the data plane anew'
complete -c rootlessctl -n "not __fish_seen_subcommand_from $commands" -a help -d 'show help'
complete -c rootlessctl -n '__fish_seen_subcommand_from list-ports add-ports info stats events reload' -l json -d 'print as JSON'
complete -c rootlessctl -n '__fish_seen_subcommand_from list-ports' -l all -d 'list each port of a range'
complete -c rootlessctl -n '__fish_seen_subcommand_from remove-ports' -a "(rootlessctl list-ports 2>/dev/null | string replace -rf '^(\d[\d-]*) .*' '\$1')"
complete -c rootlessctl -n '__fish_seen_subcommand_from metrics' -l http -d 'answer the HTTP request on stdin'
complete -c rootlessctl -n '__fish_seen_subcommand_from stats' -l watch -d 'repeat every second'
