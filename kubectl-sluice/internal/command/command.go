// Package command is what a user types.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
)

// Exit codes.
const (
	// OK: everything works unchanged.
	OK = 0
	// Needs: something has to be granted or set.
	Needs = 1
	// Failed: something cannot be served, or could not be asked.
	Failed = 2
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// verdictError ends a command that has said everything.
type verdictError int

func (verdictError) Error() string { return "not everything works unchanged" }

// Run runs a command line and returns the exit code.
func Run(ctx context.Context, version string, args []string, streams Streams) int {
	screen := streams.Out
	// Whatever is printed may have names and texts of a cluster in it.
	streams.Out, streams.Err = terminal.NewWriter(streams.Out), terminal.NewWriter(streams.Err)
	root := &cobra.Command{
		Use:   "kubectl-sluice",
		Short: "Look after Sluice, and come to it from KEDA",
		Annotations: map[string]string{
			cobra.CommandDisplayNameAnnotation: "kubectl sluice",
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          nothing,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(flagError)
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	migrate := &cobra.Command{
		Use: "migrate", Short: "Come from KEDA to Sluice", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	migrate.AddCommand(checkCommand())                                                                          //nolint:contextcheck // it is run with the context of ExecuteContext
	root.AddCommand(compareCommand(), uninstallCommand(), whyCommand())                                         //nolint:contextcheck // as above
	root.AddCommand(manifestsCommand(), probeCommand(), topCommand(screen), familiesCommand(), grantsCommand()) //nolint:contextcheck // as above
	root.AddCommand(planCommand(), uiCommand())                                                                 //nolint:contextcheck // as above
	root.AddCommand(overrides()...)                                                                             //nolint:contextcheck // as above
	root.AddCommand(migrate, versionCommand(version))
	err := root.ExecuteContext(ctx)
	var verdict verdictError
	switch {
	case err == nil:
		return OK
	case errors.As(err, &verdict):
		return int(verdict)
	}
	fmt.Fprintln(streams.Err, "kubectl sluice:", helped(err))
	return Failed
}

func versionCommand(version string) *cobra.Command {
	var format output.Format
	command := &cobra.Command{
		Use: "version", Short: "Print the version", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := format.Check(); err != nil {
				return err
			}
			if !format.ForPeople() {
				return format.Encode(c.OutOrStdout(), map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), version)
			return err
		},
	}
	format.AddFlag(command.Flags())
	completeOutput(command, &format)
	return command
}
