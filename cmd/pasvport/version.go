// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// What a build says that has no version control at hand, or knows better, set
// with -ldflags "-X main.release=v1.2.3 -X main.commit=0123abc".
var release, commit string

// build is what the Go tool wrote into the binary.
type build struct {
	version  string
	commit   string
	modified bool
	settings []string // how it was built, as NAME=VALUE
}

// settingsTold are the build settings that tell binaries apart; -ldflags and its like
// are left out with -trimpath.
var settingsTold = []string{"-race", "-tags", "-trimpath", "CGO_ENABLED", "GOAMD64", "GOARM64"}

func readBuild() build {
	b := build{version: "devel", commit: "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		b = b.from(info)
	}
	if commit != "" {
		b.commit, b.modified = commit, false
	}
	b.version = cmp.Or(release, b.version)
	return b
}

// from fills in what info knows.
func (b build) from(info *debug.BuildInfo) build {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.commit = s.Value
		case "vcs.modified":
			b.modified = s.Value == "true"
		}
		if slices.Contains(settingsTold, s.Key) && s.Value != "" {
			b.settings = append(b.settings, s.Key+"="+s.Value)
		}
	}
	return b
}

// version is the version alone.
func version() string { return readBuild().version }

// text is the answer of "pasvport version".
func (b build) text() string {
	commit := b.commit
	if b.modified {
		commit += " (modified)"
	}
	text := fmt.Sprintf("pasvport %s\ncommit %s\n%s %s/%s\n", b.version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if len(b.settings) > 0 {
		text += "built with " + strings.Join(b.settings, " ") + "\n"
	}
	return text
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit, Go version and build settings",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), readBuild().text())
			return failed(err)
		},
	}
}
