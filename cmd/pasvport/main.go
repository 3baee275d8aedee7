// SPDX-License-Identifier: Apache-2.0

// Command pasvport is a userspace FTP application-level gateway for Linux
// firewalls. "pasvport run" is the daemon; the other commands ask it or explain
// it. Exit status: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Exit status of every command.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs a command line and returns the exit status. An error is one line
// on stderr.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintf(stderr, "pasvport: %s\n", oneLine(err))
	var f *failure
	if errors.As(err, &f) {
		return exitFailed
	}
	return exitUsage
}

// oneLine keeps joined errors and values with line breaks on one line.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}

const rootHelp = `pasvport makes FTP work through a strict firewall and NAT.

It reads FTP control connections, which nftables hands to it, translates the
addresses in them, and opens exactly the data connection that was announced:
for the announced port, for the control connection's peer, once, and for a
short time. Data connections never leave the kernel.`

// buildCommands make the commands that only a build with a tag has.
var buildCommands []func() *cobra.Command

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "pasvport",
		Short: "FTP through firewalls and NAT",
		Long:  rootHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("no command given: want one of %s; see pasvport --help", strings.Join(commandNames(cmd), ", "))
		},
		Version:            version(),
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true,
	}
	root.AddCommand(newRun(), newReload(), newStatus(), newSessions(), newServers(), newUnblock(), newEvents(), newTop(), newRules(), newDoctor(), newCheck(), newInit(), newReplay(), newReport(), newVersion())
	for _, command := range buildCommands {
		root.AddCommand(command())
	}
	root.SetHelpCommand(newHelp(root))
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newCompletion(root))
	completeValues(root)
	return root
}

// newHelp is cobra's help command, except that an unknown command is an error.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil {
				err = noArgs(cmd, rest)
			}
			if err != nil {
				return err
			}
			return cmd.Help()
		},
	}
}
