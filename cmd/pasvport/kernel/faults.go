// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/ledger"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
)

// A Fault is a path of a configuration with which a daemon cannot start on this
// machine, however often it is tried.
type Fault struct {
	Setting, Path string
	Err           error
}

// Error implements error.
func (f *Fault) Error() string { return fmt.Sprintf("%s %q: %v", f.Setting, f.Path, f.Err) }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Faults are the faults of a configuration for the user who runs this.
func Faults(cfg config.Config) (list []*Fault) {
	for _, p := range []struct {
		setting, path string
		check         func(path string) error
	}{
		{"control-socket", cfg.ControlSocket, control.CheckPath},
		{"peer-key", cfg.PeerKey, checkKey},
		{"xferlog", cfg.Xferlog, ledger.CheckPath},
	} {
		if p.path == "" {
			continue
		}
		if err := p.check(p.path); err != nil {
			list = append(list, &Fault{p.setting, p.path, err})
		}
	}
	return list
}

func checkKey(path string) error {
	_, err := pair.ReadKey(path)
	return err
}

// FaultsOfFile are those of them that another user would see as well, before the
// systemd unit has made the directory for logs: check and doctor are run by an
// administrator, and maybe before the first start.
func FaultsOfFile(cfg config.Config) (list []*Fault) {
	for _, f := range Faults(cfg) {
		var missing *fs.PathError
		early := errors.As(f, &missing) && missing.Path == logsDirectory && errors.Is(missing, fs.ErrNotExist)
		if !early && !errors.Is(f, fs.ErrPermission) {
			list = append(list, f)
		}
	}
	return list
}

// logsDirectory is LogsDirectory= of the systemd unit.
const logsDirectory = "/var/log/pasvport"
