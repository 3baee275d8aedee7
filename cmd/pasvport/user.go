// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// becomeUser makes this process the user of --user, with CAP_NET_ADMIN as its
// only capability (and CAP_NET_RAW if probes are sent), if it is not that user
// already. It does so by executing the program once more: all threads of the new
// image begin with the privileges of this thread, however the binary was linked,
// and nothing that root opened or read remains. It returns only with an error, or
// if there is nothing to do.
func becomeUser(cfg config.Config) error {
	if cfg.User == "" {
		return nil
	}
	who, err := lookUpUser(cfg.User)
	if err != nil {
		return fmt.Errorf("--user %q: %w", cfg.User, err)
	}
	if os.Geteuid() == who.uid {
		return nil
	}
	if os.Geteuid() != 0 {
		return failed(fmt.Errorf("--user %q: only root can become another user", cfg.User))
	}
	if err := giveSocketDir(cfg.ControlSocket, who); err != nil {
		return failed(fmt.Errorf("--user %q: %w", cfg.User, err))
	}
	runtime.LockOSThread() // the thread whose privileges the new image gets
	keep := []uintptr{unix.CAP_NET_ADMIN}
	if raw, err := hasCapability(unix.CAP_NET_RAW); err == nil && raw && (cfg.Keepalive > 0 || cfg.SessionIdle > 0) {
		keep = append(keep, unix.CAP_NET_RAW)
	}
	if err := who.drop(keep...); err != nil {
		return failed(fmt.Errorf("--user %q: %w", cfg.User, err))
	}
	return failed(fmt.Errorf("--user %q: %w", cfg.User, executeAgain()))
}

// identity is a user as the kernel knows it.
type identity struct {
	uid, gid int
	groups   []int
}

// errUserIsRoot is for --user root.
var errUserIsRoot = errors.New("want a user that is not root")

func lookUpUser(name string) (identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}, errors.New("no such user, want one of this machine's")
	}
	ids, err := u.GroupIds()
	if err != nil {
		return identity{}, err
	}
	var who identity
	if who.uid, err = strconv.Atoi(u.Uid); err != nil {
		return identity{}, err
	}
	if who.gid, err = strconv.Atoi(u.Gid); err != nil {
		return identity{}, err
	}
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return identity{}, err
		}
		who.groups = append(who.groups, gid)
	}
	if who.uid == 0 {
		return identity{}, errUserIsRoot
	}
	return who, nil
}

// giveSocketDir lets the user make, and remove, the control socket: a missing
// directory is made for it, and that of the default socket is given to it. Others
// stay as they are.
func giveSocketDir(socket string, who identity) error {
	if socket == "" {
		return nil
	}
	dir := filepath.Dir(socket)
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	case err != nil:
		return err
	case dir != filepath.Dir(config.DefaultControlSocket) || !info.IsDir():
		return nil
	}
	return os.Lchown(dir, who.uid, who.gid)
}

// drop drops everything but the capabilities in keep, for this thread and what it
// executes; see capabilities(7). The order matters: each step needs privileges
// that a later one drops.
func (who identity) drop(keep ...uintptr) error {
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if slices.Contains(keep, c) {
			continue
		}
		// EINVAL: the running kernel has fewer than we know.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("bounding set: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	if err := syscall.Setgroups(who.groups); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if err := syscall.Setresgid(who.gid, who.gid, who.gid); err != nil {
		return fmt.Errorf("group: %w", err)
	}
	if err := syscall.Setresuid(who.uid, who.uid, who.uid); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	var only [2]unix.CapUserData // the lower half has those that we keep
	for _, c := range keep {
		only[0].Effective |= 1 << c
	}
	only[0].Permitted, only[0].Inheritable = only[0].Effective, only[0].Effective
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&hdr, &only[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	// Ambient, so that they survive the execution of a file that has none.
	for _, c := range keep {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0); err != nil {
			return fmt.Errorf("ambient capabilities: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	return nil
}

// executeAgain executes our program in this process. The link in /proc works even
// if the user cannot reach the file; but the process would be named "exe".
func executeAgain() error {
	path, err := os.Executable()
	if err == nil {
		err = syscall.Exec(path, os.Args, os.Environ())
	}
	if errors.Is(err, unix.EACCES) {
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	return fmt.Errorf("execute again: %w", err)
}
