// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/bugreport"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

const reportHelp = `report collects what a bug report needs into one archive: version, kernel, configuration
without passwords, the daemon's settings, status with counters, sessions and last events,
what doctor says, our rules, the whole ruleset, and conntrack's entries of FTP. It says
what is in it before it writes, and sends it nowhere. What cannot be had, without a
daemon for example, is said in its place.

--scrub replaces addresses by others, always the same ones, and the names of users and
files; comments and the text of the configuration file are left out. Ports, sizes and
times stay: look at it before you send it.`

func newReport() *cobra.Command {
	cmd := &cobra.Command{Use: "report", Short: "Collect what a bug report needs into an archive", Long: reportHelp, Args: noArgs,
		Example: "  pasvport report\n  pasvport report --scrub -o report.tar.gz"}
	flags := config.Bind(cmd.Flags())
	out := cmd.Flags().StringP("output", "o", "", "`FILE` to write; it must not exist (default pasvport-report-TIME.tar.gz)")
	scrub := cmd.Flags().Bool("scrub", false, "replace addresses, and names of users and files")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		cfg, err := flags.Load()
		if err != nil {
			return err
		}
		if *out == "" {
			*out = time.Now().Format("pasvport-report-20060102-150405.tar.gz")
		}
		a := bugreport.Collect(cmd.Context(), bugreport.Source{
			Version: readBuild().text(), Config: cfg, File: flags.File(), Asked: flags.Given("control-socket"),
		})
		if *scrub {
			if err := a.Scrub(); err != nil {
				return failed(err)
			}
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s will have:\n", *out); err != nil {
			return failed(err)
		}
		if err := a.List(cmd.OutOrStdout()); err != nil {
			return failed(err)
		}
		f, err := os.OpenFile(*out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return failed(fmt.Errorf("--output: %w", err))
		}
		if err := errors.Join(a.Write(f), f.Close()); err != nil {
			return failed(err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "written\n")
		return failed(err)
	}
	return cmd
}
