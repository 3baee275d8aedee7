// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// newCompletion writes the completion scripts of the shells on Linux. An unknown
// shell is wrong usage; a script that cannot be written is not.
func newCompletion(root *cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion", Short: "Write the completion script of a shell", Args: noArgs,
		Long: `completion writes the script that makes a shell complete commands, flags, values
with a fixed set, files, interfaces, and the names and ids that the daemon knows. The
packages install it.`,
		Example: "  . <(pasvport completion bash)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("no shell given: want one of %s", strings.Join(commandNames(cmd), ", "))
		},
	}
	for _, shell := range []struct {
		name  string
		write func(*cobra.Command) error
	}{
		{"bash", func(c *cobra.Command) error { return root.GenBashCompletionV2(c.OutOrStdout(), true) }},
		{"fish", func(c *cobra.Command) error { return root.GenFishCompletion(c.OutOrStdout(), true) }},
		{"zsh", func(c *cobra.Command) error { return root.GenZshCompletion(c.OutOrStdout()) }},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: shell.name, Short: "Write the completion script of " + shell.name, Args: noArgs,
			RunE: func(c *cobra.Command, _ []string) error { return failed(shell.write(c)) },
		})
	}
	return cmd
}

// completeValues makes each flag of a command, and of its subcommands, offer its
// possible values: the words of a setting, interfaces, files, or nothing.
func completeValues(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := cmd.GetFlagCompletionFunc(f.Name); ok {
			return
		}
		if complete := valuesOf(f); complete != nil {
			// It fails only for a flag that does not exist, or twice.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, complete)
		}
	})
	if cmd.ValidArgsFunction == nil && cmd.Runnable() {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, c := range cmd.Commands() {
		completeValues(c)
	}
}

// valuesOf returns nil for a flag whose value is a file.
func valuesOf(f *pflag.Flag) cobra.CompletionFunc {
	words := config.Values(f.Name)
	kind, _ := pflag.UnquoteUsage(f)
	switch {
	case len(words) > 0:
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			directive := cobra.ShellCompDirectiveNoFileComp
			if strings.HasSuffix(words[len(words)-1], "=") {
				directive |= cobra.ShellCompDirectiveNoSpace
			}
			return words, directive
		}
	case strings.HasSuffix(f.Name, "-interface"):
		return completeInterfaces
	case strings.HasPrefix(kind, "FILE") || strings.HasPrefix(kind, "PATH"):
		return nil
	}
	return cobra.NoFileCompletions
}

func completeInterfaces(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completePatience is how long a press of the tabulator waits for the daemon.
const completePatience = 500 * time.Millisecond

// completeAnswer offers the daemon's answer as a command's argument or as a
// flag's value. Without an answer it offers nothing.
func completeAnswer(flags *config.Flags, ask func(context.Context, *control.Client) ([]string, error)) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const nothing = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 {
			return nil, nothing
		}
		cfg, err := flags.Load()
		if err != nil || cfg.ControlSocket == "" {
			return nil, nothing
		}
		ctx, cancel := context.WithTimeout(context.Background(), completePatience)
		defer cancel()
		names, err := ask(ctx, control.NewClient(cfg.ControlSocket))
		if err != nil {
			return nil, nothing
		}
		return names, nothing
	}
}

// serverNames are the names of servers, alone and with their virtual server's.
func serverNames(ctx context.Context, c *control.Client) ([]string, error) {
	servers, err := c.Servers(ctx)
	var names []string
	seen := map[string]bool{}
	for _, s := range servers {
		for _, n := range []string{s.Name, s.Virtual + "/" + s.Name} {
			if !seen[n] {
				names = append(names, n)
			}
			seen[n] = true
		}
	}
	return names, err
}

// sessionIDs are the ids of sessions, each with its two ends.
func sessionIDs(ctx context.Context, c *control.Client) ([]string, error) {
	sessions, err := c.Sessions(ctx)
	var ids []string
	for _, s := range sessions {
		ids = append(ids, fmt.Sprintf("%d\t%s to %s", s.ID, s.Client, s.Dialled))
	}
	return ids, err
}

// wanted is what flags that the flag library parses want, by type.
var wanted = map[string]string{"bool": "true or false", "duration": "a duration such as 5s", "uint64": "a number"}

// flagError explains what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if f := invalid.GetFlag(); wanted[f.Value.Type()] != "" {
			return fmt.Errorf("--%s %q: want %s", f.Name, invalid.GetValue(), wanted[f.Value.Type()])
		}
	}
	hint := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && len(unknown.GetSpecifiedName()) > 1 {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		hint = didYouMean(unknown.GetSpecifiedName(), names, "--")
	}
	return fmt.Errorf("%w%s; see %s --help", err, hint, cmd.CommandPath())
}
