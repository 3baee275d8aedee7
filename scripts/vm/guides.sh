# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# guides.sh: the machine on which the commands of docs/guides are run: Debian with
# systemd, firewalld, ufw and the package. Part of vm-test; uses $work, $cache.

# What that Debian has beyond a minimal one. The rest of the list is for the test.
guides_packages=systemd,systemd-sysv,dbus,udev,firewalld,ufw,nftables,iptables,iproute2,procps,kmod,conntrack,python3-pyftpdlib

# guides_needs prints why the round is impossible here.
guides_needs() {
	[ "$(id -u)" -eq 0 ] || { echo "round guides: unpacking a Debian root needs root"; return 1; }
	apt_need mmdebstrap=mmdebstrap /etc/ssl/certs/ca-certificates.crt=ca-certificates
}

# guides_root: the Debian root as an archive; it is fetched once.
guides_root() {
	local tar=$cache/guides-bookworm.tar
	[ -e "$tar" ] && return
	echo 'fetching a Debian root for the guides (once) ...'
	mmdebstrap --format=tar --mode=root --variant=minbase --include="$guides_packages" \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' bookworm "$tar.new" >"$logs/mmdebstrap.log" 2>&1 ||
		{ tail "$logs/mmdebstrap.log"; rm -f "$tar.new"; return 1; }
	mv "$tar.new" "$tar"
}

# guides_image KERNEL FILE: the initramfs of that machine: the root, the kernel's
# modules, the package as dpkg installs it, the guides and what runs them.
guides_image() {
	local kernel=$1 file=$2 root=$work/guides
	guides_root || return 1
	mkdir -p "$root" && tar -C "$root" -xf "$cache/guides-bookworm.tar" || return 1
	scripts/package --arch amd64 --out "$work/deb" >"$logs/package.log" 2>&1 || { cat "$logs/package.log"; return 1; }
	cp "$work"/deb/*.deb "$root/pasvport.deb" &&
		chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C dpkg -i /pasvport.deb >"$logs/dpkg.log" 2>&1 ||
		{ cat "$logs/dpkg.log"; return 1; }
	rm -rf "${root:?}"/{pasvport.deb,var/cache/apt,var/lib/apt/lists,boot}
	mkdir -p "$root/usr/lib/modules" "$root/vm"
	cp -r "$cache/$kernel/trim/lib/modules/." "$root/usr/lib/modules/"
	cp -r docs/guides integration/testdata/ftp_client.py integration/testdata/ftp_server.py scripts/vm/guest/guides/. "$root/vm/"
	cp -r integration/testdata/guides "$root/vm/rulesets"
	ln -sf /vm/guides.service "$root/etc/systemd/system/guides.service"
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	ln -sf /vm/guides.service "$root/etc/systemd/system/multi-user.target.wants/guides.service"
	ln -sf /usr/lib/systemd/systemd "$root/init"
	echo vm >"$root/etc/hostname"
	for unit in firewalld ufw nftables getty@tty1 systemd-timesyncd apt-daily.timer apt-daily-upgrade.timer; do
		chroot "$root" systemctl --quiet disable "$unit" 2>/dev/null
	done
	for unit in serial-getty@ttyS0.service systemd-udev-settle.service systemd-networkd-wait-online.service; do
		ln -sf /dev/null "$root/etc/systemd/system/$unit"
	done
	(cd "$root" && find . | cpio -o -H newc --quiet) >"$file" || return 1
	rm -rf "$root" "$work/deb"
	echo "initramfs of $kernel for the guides: $(du -m "$file" | cut -f1) MiB"
}
