# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# A stand-in for OpenWrt's functions.sh, with what the init script uses of it.
config_cb() { :; }
option_cb() { :; }
list_cb() { :; }
reset_cb() {
	config_cb() { :; }
	option_cb() { :; }
	list_cb() { :; }
}

# config_load FILE: reads a file of UCI and calls back.
config_load() {
	local line value
	while read -r line; do
		# shellcheck disable=SC2086 # the words of a line, quotes taken off below
		set -- $line
		value=$(echo "${3:-}" | tr -d "'")
		case ${1:-} in
		config)
			UCI_SECTION=$value
			config_cb "$2" "$value"
			;;
		option)
			eval "UCI_${UCI_SECTION}_$2=\$value"
			option_cb "$2" "$value"
			;;
		list) list_cb "$2" "$value" ;;
		esac
	done <"/etc/config/$1"
}

config_get_bool() {
	eval "$1=\${UCI_$2_$3:-$4}"
	eval "case \$$1 in 1 | on | true | yes | enabled) $1=1 ;; *) $1=0 ;; esac"
}
