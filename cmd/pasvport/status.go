// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

const statusHelp = `status asks the running daemon what it does: strategy and carrier in use, what the
kernel has, queues with their losses, sessions, open pinholes, and how often each
decision was taken and why.`

func newStatus() *cobra.Command {
	return newQuestion("status", "Show what the daemon does", statusHelp,
		func(ctx context.Context, c *control.Client) (control.Status, error) { return c.Status(ctx) }, control.WriteStatus)
}
