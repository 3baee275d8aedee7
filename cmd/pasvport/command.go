// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// failure is an error that is not the fault of the command line: exit status 1.
// All others are, including cobra's own.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// failed makes err a failure, unless it is nil.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &failure{err}
}

// commandNames lists what may follow the program's name.
func commandNames(root *cobra.Command) []string {
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// noArgs refuses what is neither a flag nor a command.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		names := commandNames(cmd)
		return fmt.Errorf("unknown command %q: want one of %s%s", args[0], strings.Join(names, ", "), didYouMean(args[0], names, ""))
	}
	hint := ""
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && f.NoOptDefVal == "on" {
			hint = fmt.Sprintf("; the value of a switch follows a =, as in --%s=%s", f.Name, args[0])
		}
	})
	return fmt.Errorf("unexpected argument %q: %s takes flags only%s", args[0], cmd.CommandPath(), hint)
}

// didYouMean is the end of an error about an unknown name.
func didYouMean(typed string, names []string, mark string) string {
	if near := config.Nearest(typed, names); near != "" {
		return fmt.Sprintf("; did you mean %s%s?", mark, near)
	}
	return ""
}

// errNoSocket means that there is no socket to ask through.
var errNoSocket = errors.New("no daemon to ask: control-socket is empty")

// newClient returns the client of the daemon that the settings name.
func newClient(cfg config.Config) (*control.Client, error) {
	if cfg.ControlSocket == "" {
		return nil, failed(errNoSocket)
	}
	return control.NewClient(cfg.ControlSocket), nil
}

// loadClient does the same from the flags of a command.
func loadClient(flags *config.Flags) (*control.Client, error) {
	cfg, err := flags.Load()
	if err != nil {
		return nil, err
	}
	return newClient(cfg)
}

// newQuestion is a command that asks the daemon and prints the answer.
func newQuestion[T any](name, short, long string, ask func(context.Context, *control.Client) (T, error),
	write func(io.Writer, T, time.Time) error,
) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: long, Args: noArgs}
	flags := config.Bind(cmd.Flags(), "control-socket")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		daemon, err := loadClient(flags)
		if err != nil {
			return err
		}
		answer, err := ask(cmd.Context(), daemon)
		if err != nil {
			return failed(err)
		}
		if *asJSON {
			return failed(control.WriteJSON(cmd.OutOrStdout(), answer))
		}
		return failed(write(cmd.OutOrStdout(), answer, time.Now()))
	}
	return cmd
}

// addressFlag parses the value of a flag that takes an address; empty is the zero
// one. Packets show no zone.
func addressFlag(name, value string) (netip.Addr, error) {
	if value == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(value)
	if err != nil || a.Zone() != "" {
		return a, fmt.Errorf("--%s %q: want an IPv4 or IPv6 address", name, value)
	}
	return a.Unmap(), nil
}
