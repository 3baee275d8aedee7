// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A daemon is pasvport, running in the firewall's namespace.
type daemon struct {
	file    string   // the program
	socket  string   // its control socket
	args    []string // of pasvport run, for people
	network *network
	process *process
}

// startDaemon starts pasvport and waits until it says that it is ready. Its files
// are in dir.
func startDaemon(ctx context.Context, file, strategy, dir string, n *network) (*daemon, error) {
	d := &daemon{file: file, socket: filepath.Join(dir, "control.sock"), network: n}
	d.args = []string{"run", "--allow", "chain=inet/firewall/forward", "--strategy", strategy}

	// An empty file of our own, so that a configuration of this machine has no say.
	config := filepath.Join(dir, "pasvport.yaml")
	if err := os.WriteFile(config, nil, 0o644); err != nil {
		return nil, err
	}
	args := append([]string{file}, d.args...)
	args = append(args, "--config", config, "--control-socket", d.socket)
	var err error
	if d.process, err = start(ctx, nil, n.inside(n.firewall, args...)...); err != nil {
		return nil, err
	}
	if d.process.stderr.await(ctx, 15*time.Second, 0, saysReady) {
		return d, nil
	}
	_ = d.process.stop()
	return nil, errors.New("pasvport did not become ready:\n" + strings.Join(d.process.stderr.since(0), "\n"))
}

func saysReady(log []string) bool {
	for _, line := range log {
		if strings.Contains(line, "msg=ready") {
			return true
		}
	}
	return false
}

// ask runs another command of pasvport against the running daemon.
func (d *daemon) ask(ctx context.Context, what string) (string, error) {
	return output(ctx, d.network.inside(d.network.firewall, d.file, what, "--control-socket", d.socket)...)
}
