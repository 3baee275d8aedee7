// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/netns"
)

// stopTimeout limits what takes well under a second.
const stopTimeout = 10 * time.Second

// A process is a program in a namespace. The kernel ends it with the namespace's
// thread, so that it cannot be left over.
type process struct {
	os    *os.Process
	ended chan struct{} // err is set
	err   error
}

// start starts a program in n and calls f with each line that comes from pipe, which
// is one of cmd's.
func start(n *netns.Namespace, cmd *exec.Cmd, pipe func() (io.ReadCloser, error), f func(line string)) (*process, error) {
	p := &process{ended: make(chan struct{})}
	lines, err := pipe()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	if err := n.Do(cmd.Start); err != nil {
		return nil, err
	}
	p.os = cmd.Process
	go func() {
		for s := bufio.NewScanner(lines); s.Scan(); {
			f(s.Text())
		}
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
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
func output(n *netns.Namespace, name string, args ...string) (out string, err error) {
	err = n.Enter(func() error {
		b, err := exec.Command(name, args...).Output()
		out = string(b)
		return err
	})
	return out, err
}
