// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

const sessionsHelp = `sessions asks the running daemon for the control connections it serves, oldest first:

  ID           of the conntrack entry, as conntrack -o id shows it
  CLIENT       the client's own address; SERVER the server's own
  USER         whose login the server accepted
  LAST         the client's last command
  MODE         of the last announcement that was accepted: active or passive
  STATE        login, idle, transfer, tls, opaque (left alone, see NOTE), closing
  AGE, IDLE    since it was first seen, since its last packet
  DOWN, UP     bytes to the client and from it over data connections, without
               headers; "-" without sysctl net.netfilter.nf_conntrack_acct=1
  PINHOLE      of the last announcement: open, used, expired, closed, refused
  NAT, SEEN AS, DIALLED
               if any is translated: how; the client as its server sees it; the
               server as its client sees it

--offers shows the last announcements instead: what was announced, what went out,
and why.`

const sessionsExample = `  pasvport sessions --active
  pasvport sessions --client 192.0.2.7 --json
  pasvport sessions --offers`

func newSessions() *cobra.Command {
	var client, server string
	var active, offers bool
	var ofClient, ofServer netip.Addr
	ask := func(ctx context.Context, c *control.Client) ([]control.Session, error) {
		list, err := c.Sessions(ctx)
		return slices.DeleteFunc(list, func(s control.Session) bool {
			return ofClient.IsValid() && ofClient != s.Client.Addr() || active && !s.Transferring ||
				ofServer.IsValid() && ofServer != s.Server.Addr() && ofServer != s.Dialled.Addr()
		}), err
	}
	write := func(w io.Writer, list []control.Session, now time.Time) error {
		if offers {
			return control.WriteOffers(w, list, now)
		}
		return control.WriteSessions(w, list, now)
	}
	cmd := newQuestion("sessions", "List the control connections", sessionsHelp, ask, write)
	cmd.Example = sessionsExample
	cmd.PreRunE = func(*cobra.Command, []string) (err error) {
		if ofClient, err = addressFlag("client", client); err == nil {
			ofServer, err = addressFlag("server", server)
		}
		return err
	}
	cmd.Flags().StringVar(&client, "client", "", "only those of this client's address")
	cmd.Flags().StringVar(&server, "server", "", "only those to this server, by its own address or the one dialled")
	cmd.Flags().BoolVar(&active, "active", false, "only those that transfer now")
	cmd.Flags().BoolVar(&offers, "offers", false, "show the last announcement of each")
	cmd.AddCommand(newEnd())
	return cmd
}

// newEnd is the command that ends a session.
func newEnd() *cobra.Command {
	cmd := &cobra.Command{Use: "end ID", Short: "Reset both ends of a control connection",
		Long: `end resets both ends of the control connection with this id, as listed by sessions.
Open data connections continue to their end. The daemon needs CAP_NET_RAW for it.`,
		Args: oneSession}
	flags := config.Bind(cmd.Flags(), "control-socket")
	cmd.ValidArgsFunction = completeAnswer(flags, sessionIDs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		daemon, err := loadClient(flags)
		if err != nil {
			return err
		}
		id, _ := strconv.ParseUint(args[0], 10, 64) // oneSession has checked it
		return failed(daemon.End(cmd.Context(), id))
	}
	return cmd
}

// oneSession checks for the id of one session.
func oneSession(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		if _, err := strconv.ParseUint(args[0], 10, 64); err == nil {
			return nil
		}
	}
	return wantArgument(cmd, args, "the id of one session, as pasvport sessions shows it")
}
