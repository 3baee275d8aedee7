// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/replay"
)

const replayHelp = `replay reads captures (pcap or pcapng) and prints what pasvport would do with the
FTP control connections in them: each line, the decision on its packet and the reason, each
announcement of a data connection and whether it would be opened, what would be forwarded
in place of a line, and whether the data connection was opened. It changes nothing and needs
no privileges. Passwords are not printed.

Flags and file are those of "pasvport run". The firewall's translation is given by --nat,
or found in two captures, one of each side (or in one of all interfaces): a connection
that occurs twice is a translated one.

--expect compares with an earlier output, so that a capture can serve as a test.
--scrub writes the capture again for publication: without user names, passwords, names of
files and hosts, and the contents of data connections; with other addresses, correct
checksums and the same lengths; and without unrelated packets.

Exit status: 0 done, 1 failed or not what was expected, 2 wrong usage.`

const replayExample = `  pasvport replay session.pcap --port 21,2121 --checks strict
  pasvport replay inside.pcap --nat 192.168.1.5=203.0.113.7
  pasvport replay inside.pcap outside.pcap --json
  pasvport replay session.pcap >session.txt; pasvport replay session.pcap --expect session.txt
  pasvport replay session.pcap --scrub for-the-bug-report.pcap`

// errUnexpected only sets the exit status: the difference has been printed.
var errUnexpected = errors.New("not what was expected")

// replayFlags are the flags that only replay has.
type replayFlags struct {
	json          bool
	expect, scrub string
	nat           []string
}

func newReplay() *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay FILE [FILE]", Short: "Run the engine over a capture", Long: replayHelp, Example: replayExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return fmt.Errorf("replay: %d arguments, want the name of a capture, or of two", len(args))
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions([]string{"pcap", "pcapng", "cap"}, cobra.ShellCompDirectiveFilterFileExt),
	}
	flags := config.Bind(cmd.Flags(), config.EngineSettings()...)
	var f replayFlags
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, an object a line")
	cmd.Flags().StringVar(&f.expect, "expect", "", "compare with the output in `FILE`, and print the difference")
	cmd.Flags().StringVar(&f.scrub, "scrub", "", "write the capture to `FILE`.pcap without names, passwords and addresses")
	cmd.Flags().StringArrayVar(&f.nat, "nat", nil, "`INSIDE=OUTSIDE`, an address that the firewall translates, and into what; repeatable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := flags.Load()
		if err != nil {
			return err
		}
		nat, err := parseTranslations(f.nat)
		if err != nil {
			return err
		}
		if f.scrub != "" && len(args) > 1 {
			return errors.New("--scrub with two captures: want one")
		}
		return replayFiles(cmd, &f, replay.Options{Files: args, NAT: nat, Config: cfg})
	}
	return cmd
}

func replayFiles(cmd *cobra.Command, f *replayFlags, o replay.Options) error {
	var text bytes.Buffer
	out := cmd.OutOrStdout()
	var want []byte
	if f.expect != "" {
		var err error
		if want, err = os.ReadFile(f.expect); err != nil {
			return failed(err)
		}
		out = &text
	}
	err := replay.Run(o, func(r *replay.Record) error {
		if f.json {
			return r.WriteJSON(out)
		}
		return r.WriteText(out)
	})
	if err != nil {
		return failed(err)
	}
	if f.scrub != "" {
		if err := scrubFile(cmd.ErrOrStderr(), f.scrub, o); err != nil {
			return failed(err)
		}
	}
	if f.expect == "" {
		return nil
	}
	if d := replay.Diff(string(want), text.String()); d != "" {
		_, err := io.WriteString(cmd.OutOrStdout(), d)
		return failed(errors.Join(err, fmt.Errorf("%s: %w", f.expect, errUnexpected)))
	}
	return nil
}

// scrubFile writes a capture again, and reports what is in it. It removes a file
// that it could not finish.
func scrubFile(log io.Writer, name string, o replay.Options) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	written, all, err := replay.Scrub(o, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	_, err = fmt.Fprintf(log, "%s: %d of %d packets\n", name, written, all)
	return err
}

func parseTranslations(list []string) ([]replay.Translation, error) {
	var all []replay.Translation
	for _, v := range list {
		in, out, _ := strings.Cut(v, "=")
		inside, err1 := netip.ParseAddr(in)
		outside, err2 := netip.ParseAddr(out)
		if err1 != nil || err2 != nil || inside.Zone() != "" || outside.Zone() != "" || inside.Unmap().Is4() != outside.Unmap().Is4() {
			return nil, fmt.Errorf("--nat %q: want INSIDE=OUTSIDE, two addresses of one family, such as 192.168.1.5=203.0.113.7", v)
		}
		all = append(all, replay.Translation{Inside: inside.Unmap(), Outside: outside.Unmap()})
	}
	return all, nil
}
