# SPDX-License-Identifier: Apache-2.0
#
# shellcheck shell=bash
#
# lib.sh: what the scripts in this folder share. Source it, do not run it.

export LC_ALL=C
# The go command needs a home for its caches; a CI job may have none.
export HOME="${HOME:-/root}"
# git refuses root access to another user's checkout, and then go refuses to build.
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"

# die MESSAGE...: prints why on standard error and ends the script with status 1.
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# usage MESSAGE...: reports a wrong flag; ends with status 2.
usage() {
	printf '%s: %s (try --help)\n' "${0##*/}" "$*" >&2
	exit 2
}

# find_go puts the go command on PATH. sudo resets PATH, and Go from go.dev lives
# in /usr/local/go, so a plain look-up is not enough.
find_go() {
	local dir
	command -v go >/dev/null && return
	for dir in /usr/local/go/bin /usr/lib/go/bin /usr/lib/go-1.*/bin /snap/bin; do
		if [ -x "$dir/go" ]; then
			PATH="$dir:$PATH"
			return
		fi
	done
	die "no go command in PATH or /usr/local/go/bin; install Go 1.26 from https://go.dev/dl/"
}

# apt_need PROGRAM=PACKAGE...: installs the packages whose program (a command, or the
# path of a file) is missing, and prints what it installs, if anything.
apt_need() {
	local pair missing=()
	for pair in "$@"; do
		command -v "${pair%%=*}" >/dev/null || [ -e "${pair%%=*}" ] || missing+=("${pair#*=}")
	done
	[ ${#missing[@]} -eq 0 ] && return
	command -v apt-get >/dev/null || die "please install: ${missing[*]}"
	[ "$(id -u)" -eq 0 ] || die "run as root, or install first: ${missing[*]}"
	echo "installing: ${missing[*]}"
	apt_install "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
}

# apt_install PACKAGE...: quiet; fetches the package lists only if the install fails
# without. Shows apt's own output only if it fails for good.
apt_install() {
	local log
	log=$(mktemp)
	if apt_quiet install "$@" >"$log" 2>&1 ||
		{ apt_quiet update >"$log" 2>&1 && apt_quiet install "$@" >"$log" 2>&1; }; then
		rm -f "$log"
		return
	fi
	cat "$log" >&2
	rm -f "$log"
	return 1
}

apt_quiet() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
		--no-install-recommends "$@" </dev/null
}

# source_facts sets commit (with " (modified)" for a changed tree) and
# SOURCE_DATE_EPOCH, in seconds, from git; both have values without git, too.
source_facts() {
	local git=(git -c safe.directory='*')
	commit=$("${git[@]}" rev-parse --verify -q HEAD 2>/dev/null) || commit=unknown
	if [ "$commit" != unknown ] && [ -n "$("${git[@]}" status --porcelain --untracked-files=no)" ]; then
		commit="$commit (modified)"
	fi
	: "${SOURCE_DATE_EPOCH:=$("${git[@]}" log -1 --format=%ct 2>/dev/null || echo 0)}"
}

# package_version prints the version of the checked-out tag, or one that sorts before
# any release; call source_facts first.
package_version() {
	local tag
	if tag=$(git -c safe.directory='*' describe --exact-match --match 'v[0-9]*' HEAD 2>/dev/null); then
		echo "${tag#v}"
	else
		echo "0.1.0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).${commit:0:7}"
	fi
}

# build_static ARCH RELEASE FILE: builds the binary of a release, the same bytes on any
# machine; call source_facts first.
build_static() {
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 go build -trimpath -o "$3" \
		-ldflags "-s -w -X main.release=$2 -X 'main.commit=$commit'" ./cmd/pasvport
}
