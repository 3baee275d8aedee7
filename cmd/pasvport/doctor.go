// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/doctor"
	"github.com/pasvport/pasvport/cmd/pasvport/doctor/selftest"
)

const doctorHelp = `doctor says what a daemon with the same flags and the same file would find here.
Without flags and without --config it asks a running daemon for its settings. It says
what the kernel can do, which rules of others are in its way, and for each position
(sessions that pass through, servers on this host, clients on this host) which rule
would accept or drop an announced data connection, with the line to add. Where there are
configurations of conntrackd and keepalived it says what of them would break FTP in a
failover.

It reads only. Kernel features are tried in a network namespace of its own if it
may make one. It needs CAP_NET_ADMIN.

--self-test runs this program as a daemon between a client and a server in network
namespaces of its own, transfers files in every mode, tries to use an announced port
as a stranger and twice, and says which step failed. With --show it tells all that
happens: what both ends said and heard, what the kernel reported, who was dropped.
It needs root. Exit status: 0 fine, 1 problems, 2 wrong usage.`

// errProblems only sets the exit status: the report has said everything.
var errProblems = errors.New("there are problems")

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Explain what the kernel and the ruleset do to FTP", Long: doctorHelp, Args: noArgs,
		Example: "  pasvport doctor\n  pasvport doctor --port 21,2121 --allow mark --json\n  pasvport doctor --client-interface lan --server-interface wan\n  pasvport doctor --self-test",
	}
	flags := config.Bind(cmd.Flags())
	ends := bindEnds(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	conntrackd := cmd.Flags().String("conntrackd", doctor.DefaultConntrackd, "`FILE` of conntrackd, if there is one")
	keepalived := cmd.Flags().String("keepalived", doctor.DefaultKeepalived, "`FILE` of keepalived, if there is one")
	selfTest := cmd.Flags().Bool("self-test", false, "run transfers in network namespaces of its own")
	show := cmd.Flags().Bool("show", false, "with --self-test: explain each step as it happens")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *show && (!*selfTest || *asJSON) {
			return errors.New("--show goes with --self-test, and without --json")
		}
		cfg, known, err := ends.load(flags)
		if err == nil {
			err = ends.checkLinks()
		}
		if err != nil {
			return err
		}
		var r doctor.Answer
		if *selfTest {
			var out io.Writer
			if *show {
				out = cmd.OutOrStdout()
			}
			r, err = selftest.Run(cmd.Context(), cfg, out)
		} else {
			r, err = doctor.Run(cmd.Context(), doctor.Question{Config: cfg, Asked: flags.Given("control-socket"), Ends: known,
				Conntrackd: *conntrackd, Keepalived: *keepalived})
		}
		if err != nil {
			return failed(err)
		}
		if *asJSON {
			err = control.WriteJSON(cmd.OutOrStdout(), r)
		} else {
			err = r.WriteText(cmd.OutOrStdout())
		}
		if err != nil {
			return failed(err)
		}
		if !r.Fine() {
			return failed(errProblems)
		}
		return nil
	}
	return cmd
}

// endFlags are the flags about the two hosts.
type endFlags struct{ client, server, clientLink, serverLink string }

func bindEnds(cmd *cobra.Command) *endFlags {
	var f endFlags
	cmd.Flags().StringVar(&f.client, "client", "", "`ADDRESS` of a client, to tell more of its sessions")
	cmd.Flags().StringVar(&f.server, "server", "", "`ADDRESS` of a server")
	cmd.Flags().StringVar(&f.clientLink, "client-interface", "", "`NAME` of the interface towards clients")
	cmd.Flags().StringVar(&f.serverLink, "server-interface", "", "`NAME` of the interface towards servers")
	return &f
}

// load loads the settings too, for a command that may ask the kernel.
func (f *endFlags) load(flags *config.Flags) (config.Config, doctor.Ends, error) {
	cfg, err := flags.Load()
	if err != nil {
		return cfg, doctor.Ends{}, err
	}
	known, err := f.parse()
	if err == nil {
		err = failed(requireNetAdmin())
	}
	return cfg, known, err
}

// checkLinks returns an error if one of the interfaces does not exist.
func (f *endFlags) checkLinks() error {
	links, err := linkNames()
	if err != nil {
		return failed(err)
	}
	for _, l := range []struct{ flag, name string }{{"client-interface", f.clientLink}, {"server-interface", f.serverLink}} {
		if l.name != "" && !slices.Contains(links, l.name) {
			return fmt.Errorf("--%s %q: want an interface of this machine: %s", l.flag, l.name, strings.Join(links, ", "))
		}
	}
	return nil
}

func (f *endFlags) parse() (doctor.Ends, error) {
	n := doctor.Ends{ClientLink: f.clientLink, ServerLink: f.serverLink}
	for _, a := range []struct {
		flag, text string
		to         *netip.Addr
	}{{"client", f.client, &n.Client}, {"server", f.server, &n.Server}} {
		addr, err := addressFlag(a.flag, a.text)
		if err != nil {
			return n, err
		}
		*a.to = addr
	}
	if n.Client.IsValid() && n.Server.IsValid() && n.Client.Is4() != n.Server.Is4() {
		return n, fmt.Errorf("--client %q with --server %q: want addresses of one family", f.client, f.server)
	}
	return n, nil
}
