// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSelfTest: doctor --self-test transfers in every mode and reports that;
// without IPv6 in the kernel it leaves those steps out, and doctor says why.
func TestSelfTest(t *testing.T) {
	needDaemon(t)
	NewNet(t) // skips without the privileges
	bin, err := binary.file()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		ipv6      bool
		has, last string
	}{
		"as it is":     {true, "ok    IPv6, EPRT: fetch and store", "16 steps, 0 failed"},
		"without IPv6": {false, "skip  IPv6, EPRT: fetch and store: IPv6 is off in this kernel", "16 steps, 0 failed, 2 skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runWith(tt.ipv6, exec.Command(bin, "doctor", "--config", "/dev/null", "--self-test"))
			if err != nil || !strings.Contains(out, tt.has) || !strings.HasSuffix(strings.TrimSpace(out), tt.last) {
				t.Errorf("%v, want %q and %q:\n%s", err, tt.has, tt.last, out)
			}
		})
	}
	out, _ := runWith(false, exec.Command(bin, "doctor", "--config", "/dev/null", "--control-socket", "")) // other problems on this host do not matter
	if !strings.Contains(out, "IPv6 is off in this kernel") {
		t.Errorf("doctor does not say that IPv6 is off:\n%s", out)
	}
}

// runWith runs a program. Without ipv6 it can create no IPv6 socket, as on a
// machine that was booted with ipv6.disable=1.
func runWith(ipv6 bool, c *exec.Cmd) (out string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the filter stays with the thread, which is not reused
		if !ipv6 {
			if err = refuseIPv6(); err != nil {
				return
			}
		}
		var b []byte
		b, err = c.CombinedOutput()
		out = string(b)
	}()
	<-done
	return out, err
}

// refuseIPv6 makes socket(AF_INET6, ...) fail on this thread and in processes
// that it starts.
func refuseIPv6() error {
	const nr, family = 0, 16 // of struct seccomp_data; little endian, like all machines that run this
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: family},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_INET6, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
