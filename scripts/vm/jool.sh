# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# jool.sh: the module of the translator Jool for a kernel, from Debian's source and
# headers. Part of vm-test; uses $cache, $logs.

# jool_build KERNEL: puts the modules next to the kernel's own. It is done once; if it
# fails, the tests that need Jool skip.
jool_build() {
	local kernel=$1 part modules status
	modules=$(echo "$cache/$kernel"/trim/lib/modules/*)
	[ -e "$modules/extra/jool.ko" ] && return
	apt_need gcc=gcc make=make
	part=$(mktemp -d "$cache/part.XXXXXX")
	echo "building the module jool for ${modules##*/} (once)"
	(set -e && jool_make "$part" "${modules##*/}" "$modules/extra") >"$logs/jool.log" 2>&1
	status=$?
	rm -rf "$part"
	[ $status -eq 0 ] || { tail -n 5 "$logs/jool.log"; echo "no module jool for $kernel: its tests are skipped"; }
	return 0
}

# jool_make DIR VERSION TO: the headers' packages depend on the rest of what is needed;
# their Makefile names the place where they would be installed.
jool_make() {
	local dir=$1 version=$2 to=$3 headers=linux-headers-$2 deb source m
	cd "$dir"
	apt-get -q -o APT::Sandbox::User=root download jool-dkms "$headers" \
		$(apt-cache depends "$headers" | awk '$1 == "Depends:" && $2 ~ /^linux-(headers|kbuild)-/ { print $2 }')
	for deb in ./*.deb; do dpkg-deb -x "$deb" .; done
	sed -i "s,/usr/src,$dir/usr/src," "usr/src/$headers/Makefile"
	source=$(echo "$dir"/usr/src/jool-dkms-*/src/mod)
	for m in common nat64; do make -s -j2 -C "usr/src/$headers" M="$source/$m" CC=gcc modules; done
	mkdir -p "$to"
	strip -g -o "$to/jool_common.ko" "$source/common/jool_common.ko"
	strip -g -o "$to/jool.ko.new" "$source/nat64/jool.ko" && mv "$to/jool.ko.new" "$to/jool.ko"
	PATH=$PATH:/sbin:/usr/sbin depmod -b "${to%/lib/modules/*}" "$version"
}
