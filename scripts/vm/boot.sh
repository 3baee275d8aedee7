# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# boot.sh: one boot of a virtual machine. Part of vm-test; uses $work, $cache,
# $image, $logs, $packages, $run, $bench, $full.

vm_pid=

# boot KERNEL ROUND: boots, shows the guest's progress, and leaves console.log,
# results.txt and the guest's /out in $logs/KERNEL/ROUND. Status 0 if the guest ran to
# its end, even if tests failed.
boot() {
	local kernel=$1 round=$2 out=$logs/$1/$2 seconds=${PASVPORT_VM_TIMEOUT:-} began=$SECONDS memory=1536
	[ "$round" != guides ] || memory=2048
	[ -n "$seconds" ] || seconds=$([ -n "$full" ] && echo 5400 || echo 1500)
	rm -rf "$out"
	mkdir -p "$out/guest"
	: >"$out/console.log"
	echo "== $kernel, round $round"
	boot_overlay "$round" "$seconds" >"$work/overlay.cpio" || return 1
	cat "$image" "$work/overlay.cpio" >"$work/initrd"
	qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 \
		-m "${PASVPORT_VM_MEMORY:-$memory}" -nodefaults -display none -no-reboot \
		-serial "file:$out/console.log" -device virtio-serial-pci \
		-chardev "file,id=results,path=$out/results.txt" -device virtserialport,chardev=results,name=results \
		-chardev "file,id=files,path=$out/files.tar" -device virtserialport,chardev=files,name=files \
		-kernel "$cache/$kernel/vmlinuz" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet panic=-1 loglevel=4" </dev/null >"$out/qemu.log" 2>&1 &
	vm_pid=$!
	boot_watch "$out" $((began + seconds))
	vm_pid=
	rm -f "$work/initrd" "$work/overlay.cpio"
	[ -s "$out/files.tar" ] && tar -C "$out/guest" -xf "$out/files.tar" 2>/dev/null
	rm -f "$out/files.tar"
	echo "   $((SECONDS - began)) s"
	grep -q '^vm: end' "$out/console.log" && return
	echo "FAIL  $kernel/$round: the virtual machine did not run to its end; its last words:"
	tail -n 15 "$out/console.log" "$out/qemu.log"
	return 1
}

# boot_overlay ROUND SECONDS: a second cpio archive with the tasks of this boot, which
# the kernel unpacks over the first.
boot_overlay() {
	local dir
	dir=$(mktemp -d "$work/overlay.XXXXXX") && mkdir "$dir/vm" && chmod 755 "$dir" "$dir/vm" || return 1
	{
		printf 'round=%q\nfull=%q\nrun=%q\nbench=%q\nseconds=%q\n' "$1" "$full" "$run" "$bench" "$2"
		printf 'packages=(%s)\n' "${packages[*]}"
	} >"$dir/vm/job"
	(cd "$dir" && find . | cpio -o -H newc -R 0:0 --quiet)
	rm -rf "$dir"
}

# boot_watch DIR DEADLINE: shows the console lines meant for people until the machine
# ends, which it must before $SECONDS is DEADLINE.
boot_watch() {
	local out=$1 deadline=$2 shown=0 lines=()
	while kill -0 "$vm_pid" 2>/dev/null; do
		sleep 1
		mapfile -t lines < <(tr -d '\r' <"$out/console.log" | grep -a '^vm: ' | grep -v '^vm: end')
		for (( ; shown < ${#lines[@]}; shown++)); do echo "   ${lines[shown]#vm: }"; done
		if [ "$SECONDS" -gt "$deadline" ]; then
			echo "vm-test: time is up, stopping the virtual machine" >&2
			boot_kill
		fi
	done
	tr -d '\r' <"$out/console.log" >"$out/console.tmp" && mv "$out/console.tmp" "$out/console.log"
}

boot_kill() {
	[ -n "$vm_pid" ] && kill "$vm_pid" 2>/dev/null && wait "$vm_pid" 2>/dev/null
	vm_pid=
}
