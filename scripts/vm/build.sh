# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# build.sh: the root file system of the virtual machine. Part of vm-test; uses
# $work, $cache, $packages.

# vm_programs are taken from this machine, with the libraries they need. Those after
# the dash may be missing: the tests that need them skip.
vm_programs=(bash sed ip tc nft conntrack sysctl setpriv kmod tcpdump
	- iptables-nft iptables-nft-restore curl vsftpd lftp ncftpget ncftpput tnftp wget openssl ss ethtool)

# vm_needs installs what this machine lacks, the FTP peers included.
vm_needs() {
	PATH=$PATH:/usr/sbin:/sbin
	if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
		scripts/peers 2>/dev/null || die "scripts/peers failed; run it to see why"
	fi
	apt_need qemu-system-x86_64=qemu-system-x86 cpio=cpio xz=xz-utils kmod=kmod \
		busybox=busybox-static setpriv=util-linux nft=nftables conntrack=conntrack \
		ip=iproute2 sysctl=procps tcpdump=tcpdump
	busybox_static || apt_install busybox-static >/dev/null || die "install first: busybox-static"
}

busybox_static() { ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

# build_userland ROOT: everything but the kernel's modules.
build_userland() {
	local root=$1
	mkdir -p "$root"/{proc,sys,dev,tmp,run,root,etc,home,out,var/empty,var/cache,var/log,var/tmp,srv/ftp,vm,usr/bin,usr/sbin,usr/lib}
	chmod 1777 "$root/tmp" "$root/var/tmp"
	ln -s usr/bin usr/sbin usr/lib "$root/"
	ln -s usr/lib "$root/lib64"
	ln -s ../run "$root/var/run"
	build_programs "$root" && build_python "$root" && build_peers "$root" && build_etc "$root" &&
		build_tests "$root/vm"
}

build_programs() {
	local root=$1 program applet optional=
	cp "$(command -v busybox)" "$root/usr/bin/busybox"
	for program in "${vm_programs[@]}"; do
		if [ "$program" = - ]; then
			optional=1
		elif ! command -v "$program" >/dev/null; then
			[ -n "$optional" ] || { echo "vm-test: no program $program" >&2; return 1; }
		else
			build_copy "$root" "$(readlink -f "$(command -v "$program")")"
			build_name "$root" "$program"
		fi
	done
	ln -s bash "$root/usr/bin/sh" # that of busybox prefers its own ip
	for program in modprobe depmod insmod lsmod rmmod; do ln -s ../bin/kmod "$root/usr/sbin/$program"; done
	for applet in $(busybox --list); do
		[ -e "$root/usr/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
	done
}

# build_name ROOT PROGRAM: copies the program under its own name, if that is a link
# here (lftp, vi, ... by way of /etc/alternatives).
build_name() {
	local real
	real=$(readlink -f "$(command -v "$2")")
	[ "${real##*/}" = "$2" ] || ln -sf "$(canonical "$real")" "$1/usr/bin/$2"
}

# build_copy ROOT FILE...: files with the libraries that ldd names, at their own
# paths below /usr.
build_copy() {
	local root=$1 file
	shift
	{
		printf '%s\n' "$@"
		for file in "$@"; do ldd "$file" 2>/dev/null; done | grep -oE '/[^ )]+\.so[^ )]*'
	} | sort -u | while read -r file; do build_put "$root" "$file"; done
}

# build_put ROOT FILE: one file, /bin and /lib being links to their twins in /usr.
build_put() {
	local to
	to=$1$(canonical "$2")
	[ -e "$to" ] && return
	mkdir -p "${to%/*}"
	cp -L --preserve=mode,timestamps "$2" "$to"
}

canonical() {
	case $1 in
	/bin/* | /sbin/* | /lib/*) echo "/usr$1" ;;
	/lib64/*) echo "/usr/lib/${1#/lib64/}" ;;
	*) echo "$1" ;;
	esac
}

# build_python ROOT: Debian's python3 with its library, and pyftpdlib with its imports.
# Without pyftpdlib here the tests that need it skip.
build_python() {
	local root=$1 python stdlib
	python=$(readlink -f /usr/bin/python3) || return 0
	[ -x "$python" ] || return 0
	stdlib=$("$python" -I -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') || return 1
	mkdir -p "$root$stdlib" "$root/usr/lib/python3/dist-packages"
	tar -C "$stdlib" -cf - --exclude=./test --exclude=./idlelib --exclude=./lib2to3 --exclude=./ensurepip \
		--exclude=./tkinter --exclude=./pydoc_data --exclude=./turtledemo --exclude='./config-*' \
		--exclude=./unittest --exclude=./distutils . | tar -C "$root$stdlib" -xf -
	"$python" -I -c "$python_imports" | while read -r path; do
		cp -a "$path" "$root/usr/lib/python3/dist-packages/"
	done
	build_copy "$root" "$python" || return 1
	find "$root$stdlib" "$root/usr/lib/python3" -name '*.so' | while read -r path; do
		build_copy "$root" "${path#"$root"}"
	done
	ln -sf "${python##*/}" "$root/usr/bin/python3"
}

# python_imports prints the files and folders of dist-packages that pyftpdlib's
# modules come from.
python_imports='
import sys
try:
    import pyftpdlib.servers, pyftpdlib.handlers
except ImportError:
    sys.exit()
base = "/usr/lib/python3/dist-packages/"
paths = {getattr(m, "__file__", None) or "" for m in list(sys.modules.values())}
print("\n".join(sorted({base + p[len(base):].split("/")[0] for p in paths if p.startswith(base)})))
'

# build_peers ROOT: the servers that scripts/peers unpacked, at the same place.
build_peers() {
	local root=$1 peers=${PASVPORT_PEERS:-/var/cache/pasvport-peers}/root
	[ -d "$peers" ] || return 0
	mkdir -p "$root/var/cache/pasvport-peers"
	tar -C "$peers" -cf - --exclude=./usr/share/doc --exclude=./usr/share/locale --exclude=./usr/share/man . |
		{ mkdir -p "$root/var/cache/pasvport-peers/root" && tar -C "$root/var/cache/pasvport-peers/root" -xf -; }
	local libs file
	libs=$(find "$peers" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
	for file in "$peers"/usr/sbin/*ftpd "$peers"/usr/sbin/{keepalived,conntrackd} "$peers"/usr/bin/pure-pw; do
		LD_LIBRARY_PATH=$libs ldd "$file" 2>/dev/null | grep -oE '/[^ )]+\.so[^ )]*' | grep -v "^$peers"
	done | sort -u | while read -r file; do build_put "$root" "$file"; done
}

build_etc() {
	local root=$1 file
	mkdir -p "$root/etc/modprobe.d"
	cat >"$root/etc/passwd" <<-'EOT'
		root:x:0:0:root:/root:/bin/bash
		nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
		ftp:x:100:100:ftp:/srv/ftp:/usr/sbin/nologin
		proftpd:x:101:65534::/run/proftpd:/usr/sbin/nologin
	EOT
	printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' 'ftp:x:100:' >"$root/etc/group"
	printf '%s\n' 'passwd: files' 'group: files' 'hosts: files' 'services: files' >"$root/etc/nsswitch.conf"
	printf '%s\n' '127.0.0.1 localhost vm' '::1 localhost' >"$root/etc/hosts"
	printf '%s\n' /bin/sh /bin/bash /bin/false >"$root/etc/shells"
	for file in /etc/protocols /etc/services /etc/ssl/openssl.cnf /etc/pam.d/vsftpd /etc/ld.so.conf /etc/ld.so.conf.d \
		/etc/iproute2 /usr/share/iproute2 /etc/ethertypes; do
		[ -e "$file" ] && mkdir -p "$root${file%/*}" && cp -rL "$file" "$root${file%/*}/"
	done
	# The matches of iptables are loaded by name.
	for file in /usr/lib/x86_64-linux-gnu/xtables/*.so /lib/x86_64-linux-gnu/libnss_files* /lib/x86_64-linux-gnu/libpam* \
		/usr/lib/x86_64-linux-gnu/ossl-modules/*; do
		[ -e "$file" ] && build_put "$root" "$file"
	done
	true
}

# build_tests DIR: builds the daemon, the test binaries and what runs them.
build_tests() {
	local dir=$1 p
	cp -r scripts/vm/guest/. "$dir/"
	cp "$dir/init" "$dir/../init"
	if [ -n "${PASVPORT_BIN:-}" ]; then
		cp "$PASVPORT_BIN" "$dir/pasvport" || return 1
	else
		CGO_ENABLED=0 go build -trimpath -o "$dir/pasvport" ./cmd/pasvport || return 1
	fi
	for p in "${packages[@]}"; do
		[ "$p" = vm ] && continue
		CGO_ENABLED=0 go test -c -o "$dir/$p.test" "./$p" || return 1
		mkdir -p "$dir/$p"
		[ ! -d "$p/testdata" ] || cp -r "$p/testdata" "$dir/$p/"
	done
	mkdir -p "$dir/vm" "$dir/integration"
	cp -r integration/testdata "$dir/integration/"
	cp -r docs "$dir/docs" # the tests look whether what they say is true
}

# build_image KERNEL FILE: the initramfs for a kernel: the userland and its
# modules. Not compressed: the guest would need longer for it than QEMU does.
build_image() {
	local kernel=$1 file=$2 size
	rm -rf "$work/root/usr/lib/modules"
	cp -r "$cache/$kernel/trim/lib/modules" "$work/root/usr/lib/" &&
		(cd "$work/root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$file" || return 1
	size=$(du -m "$file" | cut -f1)
	echo "initramfs of $kernel: $size MiB"
}
