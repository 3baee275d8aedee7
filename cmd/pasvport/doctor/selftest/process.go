// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// stopTimeout bounds what takes well under a second.
const stopTimeout = 10 * time.Second

// A process is a program in a namespace. The kernel ends it with the thread that
// started it, so that it cannot be left behind.
type process struct {
	os    *os.Process
	ended chan struct{} // err is set
	err   error
}

// start starts a program in n and calls f with each line that comes from pipe, which
// is one of cmd's.
func (n *namespace) start(cmd *exec.Cmd, pipe func() (io.ReadCloser, error), f func(line string)) (*process, error) {
	p := &process{ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never given back
		lines, err := pipe()
		if err == nil {
			err = unix.Setns(n.fd, unix.CLONE_NEWNET)
		}
		if err == nil {
			cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
			err = cmd.Start()
		}
		if err != nil {
			started <- err
			return
		}
		p.os = cmd.Process
		started <- nil
		for s := bufio.NewScanner(lines); s.Scan(); {
			f(s.Text())
		}
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, <-started
}

// stop ends the process as systemd does.
func (p *process) stop() error {
	if err := p.os.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return p.err
	case <-time.After(stopTimeout):
		_ = p.os.Kill()
		<-p.ended
		return fmt.Errorf("did not end within %s after SIGTERM", stopTimeout)
	}
}

// output runs a program in n to its end and returns what it printed.
func (n *namespace) output(name string, args ...string) (out string, err error) {
	err = n.do(func() error {
		b, err := exec.Command(name, args...).Output()
		out = string(b)
		return err
	})
	return out, err
}
