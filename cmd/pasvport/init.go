// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/doctor"
)

const initHelp = `init writes a configuration file for this machine, and the lines that its ruleset lacks
for FTP to work with it, which the doctor finds. It changes nothing: the file goes to
standard output, or to a new file, and the lines are yours to add.

Say where clients and servers are: --client-interface and --server-interface for a
gateway, one of them where the others run on this machine. Without either it asks, if
standard input is a terminal. Other flags are those of run, and go into the file; so
does what the file of --config says, but for virtual-servers and policies.

It needs CAP_NET_ADMIN. Exit status: 0 done, 1 failed, 2 wrong usage.`

const initExample = `  pasvport init --client-interface lan0 --server-interface wan0
  pasvport init --client-interface eth0 --port 21,2121 --output new.yaml`

func newInit() *cobra.Command {
	cmd := &cobra.Command{Use: "init", Short: "Write a configuration, and what the ruleset lacks", Long: initHelp, Example: initExample, Args: noArgs}
	flags := config.Bind(cmd.Flags())
	ends := bindEnds(cmd)
	output := cmd.Flags().String("output", "", "new `FILE` to write the configuration to; empty: standard output")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := ends.ask(cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
			return err
		}
		cfg, known, err := ends.load(flags)
		if err != nil {
			return err
		}
		return failed(initialize(cmd.Context(), cfg, known, *output, cmd.OutOrStdout()))
	}
	return cmd
}

// errNoEnds is for a command line that names neither interface.
var errNoEnds = errors.New("no interface given: want --client-interface, --server-interface or both")

// ask asks for the interfaces on a terminal if none was given, and checks them.
func (f *endFlags) ask(in io.Reader, out io.Writer) error {
	if f.clientLink == "" && f.serverLink == "" && isTerminal(in) {
		if err := f.question(bufio.NewScanner(in), out); err != nil {
			return failed(err)
		}
	}
	if f.clientLink == "" && f.serverLink == "" {
		return errNoEnds
	}
	return f.checkLinks()
}

// question asks for both interfaces.
func (f *endFlags) question(in *bufio.Scanner, out io.Writer) error {
	for _, q := range []struct {
		text string
		to   *string
	}{
		{"Interface towards the FTP clients (empty: clients on this machine): ", &f.clientLink},
		{"Interface towards the FTP servers (empty: servers on this machine): ", &f.serverLink},
	} {
		if _, err := io.WriteString(out, q.text); err != nil {
			return err
		}
		if !in.Scan() {
			return in.Err()
		}
		*q.to = strings.TrimSpace(in.Text())
	}
	return nil
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// linkNames are the interfaces of this machine except loopback.
func linkNames() (names []string, err error) {
	links, err := net.Interfaces()
	for _, l := range links {
		if l.Flags&net.FlagLoopback == 0 {
			names = append(names, l.Name)
		}
	}
	return names, err
}

// initialize writes the configuration, and then what the ruleset lacks.
func initialize(ctx context.Context, cfg config.Config, ends doctor.Ends, output string, stdout io.Writer) error {
	report, err := doctor.Run(ctx, doctor.Question{Config: cfg, Asked: true, Ends: ends})
	if err != nil {
		return err
	}
	file := stdout
	if output != "" {
		f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		file = f
	}
	position, words := place(ends)
	if _, err := fmt.Fprintf(file, "# By pasvport init: %s.\n", words); err != nil {
		return err
	}
	if err := config.Write(file, cfg); err != nil {
		return err
	}
	return writeMissing(stdout, report, position)
}

// place is the doctor's position of sessions with these ends, and its
// description.
func place(ends doctor.Ends) (position, words string) {
	switch {
	case ends.ServerLink == "":
		return "input", "servers on this machine, clients behind " + ends.ClientLink
	case ends.ClientLink == "":
		return "output", "clients on this machine, servers behind " + ends.ServerLink
	default:
		return "forward", "clients behind " + ends.ClientLink + ", servers behind " + ends.ServerLink
	}
}

// writeMissing writes what the doctor found to be done about a position, and
// about the machine as a whole: as comments, since it may follow a configuration.
func writeMissing(w io.Writer, report *doctor.Report, position string) error {
	var b strings.Builder
	seen := map[string]bool{}
	for _, f := range report.Findings {
		if f.Position != "" && f.Position != position || len(f.Hint) == 0 {
			continue
		}
		// This command implies that FTP is wanted.
		text, _, _ := strings.Cut(f.Text, ", so there is nothing to do")
		fmt.Fprintf(&b, "#\n# %s:\n", text)
		for _, h := range f.Hint {
			h = strings.TrimPrefix(h, "if FTP is wanted here: ")
			if !seen[h] {
				seen[h] = true
				fmt.Fprintf(&b, "#   %s\n", h)
			}
		}
	}
	text := "#\n# The ruleset lacks nothing.\n"
	if b.Len() > 0 {
		text = "#\n# What to do about the ruleset and the kernel. Commands change what runs: put the same into\n" +
			"# your ruleset's file. Then look again, with pasvport doctor: where the control port is not\n" +
			"# accepted yet, it has not looked at data connections.\n" + b.String()
	}
	_, err := io.WriteString(w, text)
	return err
}
