# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# kernel.sh: lists kernel packages, and unpacks them. Part of vm-test; uses $cache.

# The meta package whose dependency is the stock kernel for virtual machines.
kernel_meta=linux-image-cloud-amd64

# kernel_default FULL: prints the default kernels: the stock one, and with FULL not
# empty the newest in the package sources.
kernel_default() {
	local stock newest
	apt-cache show "$kernel_meta" >/dev/null 2>&1 || apt_update
	stock=$(apt-cache depends "$kernel_meta" 2>/dev/null | awk '$1 == "Depends:" && /linux-image-[0-9]/ { print $2; exit }')
	[ -z "$stock" ] || echo "$stock"
	[ -n "$1" ] || return 0
	newest=$(apt-cache pkgnames linux-image- | grep -E '^linux-image-[0-9.]+[-+].*cloud-amd64$' | sort -V | tail -1)
	[ -z "$newest" ] || [ "$newest" = "$stock" ] || echo "$newest"
}

apt_update() {
	if [ "$(id -u)" -eq 0 ]; then
		apt_quiet update >/dev/null 2>&1
	fi
}

# kernel_fetch PACKAGE: unpacks the package in $cache/PACKAGE, with its modules
# uncompressed and indexed, once.
kernel_fetch() {
	local package=$1 dir=$cache/$1 part deb
	[ -e "$dir/done" ] && return
	part=$(mktemp -d "$cache/part.XXXXXX")
	echo "downloading $package"
	if ! (cd "$part" && apt-get -q -o APT::Sandbox::User=root download "$package" >download.log 2>&1); then
		cat "$part/download.log" >&2
		rm -rf "$part"
		echo "vm-test: cannot download $package" >&2
		return 1
	fi
	deb=$(echo "$part"/*.deb)
	dpkg-deb -x "$deb" "$part" && rm "$deb" && kernel_trim "$part" && touch "$part/done" &&
		rm -rf "$dir" && mv "$part" "$dir"
}

# kernel_trim DIR: keeps the part of an unpacked kernel that a machine without hardware
# needs. Packet filters, networks and their dependencies may all be autoloaded.
kernel_trim() {
	local modules version
	modules=$(echo "$1"/lib/modules/*)
	version=${modules##*/}
	mkdir -p "$1/trim/lib/modules/$version"
	(
		cd "$modules" || exit 1
		find kernel/net kernel/lib kernel/crypto kernel/arch/x86/crypto kernel/drivers/virtio \
			kernel/drivers/net/{veth,vrf,dummy,ifb}.ko* kernel/drivers/char/virtio_console.ko* \
			-name '*.ko*' 2>/dev/null | cpio -pdm --quiet "$1/trim/lib/modules/$version"
		cp modules.builtin modules.builtin.modinfo modules.order "$1/trim/lib/modules/$version/"
	) || return 1
	find "$1/trim" -name '*.ko.xz' -exec xz -d {} +
	find "$1/trim" -name '*.ko.zst' -exec zstd -q -d --rm {} +
	PATH=$PATH:/sbin:/usr/sbin depmod -b "$1/trim" "$version" || return 1
	cp "$1"/boot/vmlinuz-* "$1/vmlinuz"
	cp "$1"/boot/config-* "$1/config"
	rm -rf "${1:?}"/{lib,usr,boot}
}
