// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// podmanRun starts the daemon as in docs/guides/containers.md. The rest is for
// test machines that are containers themselves: own cgroups, and no raised limit.
const podmanRun = `umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
exec podman --root "$1/root" --runroot "$1/run" --storage-driver vfs --cgroup-manager cgroupfs \
	run --rm --cgroups=disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \
	--network host --cap-drop all --cap-add NET_ADMIN localhost/pasvport:test`

// TestContainer: the scratch image serves the host's network with CAP_NET_ADMIN
// alone, and removes its rules when it is stopped.
func TestContainer(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	needPrograms(t, "podman", "unshare")
	if _, err := os.Stat("../scripts/oci"); err != nil {
		t.Skip("no scripts/oci here")
	}
	site := lifecycleSite(t, Auto, AllowRelated, "container")
	fw := site.Firewalls[0]
	store := filepath.Join(fw.Dir, "podman")
	// Without a network, to show that none is needed.
	if out, err := exec.Command("unshare", "--net", "../scripts/oci", "--version", "test", "--out", fw.Dir).CombinedOutput(); err != nil {
		t.Fatalf("scripts/oci: %v\n%s", err, out)
	}
	archives, err := filepath.Glob(filepath.Join(fw.Dir, "*.oci.tar"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("images %v, %v", archives, err)
	}
	load := exec.Command("podman", "--root", store+"/root", "--runroot", store+"/run", "--storage-driver", "vfs", "load", "-i", archives[0])
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("podman load: %v\n%s", err, out)
	}
	before := fw.rulesWithoutCounters(t)
	p, err := fw.Start(Cmd("unshare", "--mount", "sh", "-c", podmanRun, "sh", store))
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Process: p, Host: fw, bin: "podman"}
	site.Before(func() { d.end(t) })
	if err := p.WaitLog(3*startTimeout, "msg=ready"); err != nil {
		d.stopped = true
		t.Fatal(err)
	}
	site.mustTransfer(t, site.StartServer(t, Pyftpdlib))
	if status, err := d.Stop(syscall.SIGTERM); err != nil || status != 0 {
		t.Errorf("exit status %d, %v", status, err)
	}
	if after := fw.rulesWithoutCounters(t); after != before {
		t.Errorf("ruleset after the stop\n%s\nbefore\n%s", after, before)
	}
}
