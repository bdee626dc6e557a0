package command

import (
	"context"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
)

// comparing is what the user asks for.
type comparing struct {
	controllers
	output output.Format
	// ask returns how to ask a controller.
	ask func(ctx context.Context) (asking, error)
}

func compareCommand() *cobra.Command { return compareCommandOf(nil) }

// compareCommandOf is the command that asks as it is told to, or with nil finds a
// controller.
func compareCommandOf(ask func(context.Context) (asking, error)) *cobra.Command {
	c := comparing{controllers: controllers{cluster: genericclioptions.NewConfigFlags(true)}, ask: ask}
	if ask == nil {
		c.ask = c.anyone
	}
	command := &cobra.Command{
		Use:   "compare",
		Short: "Say where Sluice, in KEDA's shadow, would do the same",
		Long: `Prints what a controller in shadow found of each ScaledObject and ScaledJob
while KEDA scales: agrees, differs (and why), cannot be served. It forwards a port
of a controller's Pod, with your own rights: list on pods and create on
pods/portforward in the namespace of Sluice.

Exit codes: 0 all objects agree; 1 some differ, or are not known yet; 2 some cannot
be served, no controller is in shadow, or it could not be asked.`,
		Example: `  kubectl sluice compare
  kubectl sluice compare -n shop -o json`,
		Args: nothing,
		RunE: func(command *cobra.Command, _ []string) error { return c.run(command.Context(), command) },
	}
	flags := command.Flags()
	c.cluster.AddFlags(flags)
	flags.Lookup("namespace").Usage = "the namespace to tell of, all by default"
	c.output.AddFlag(flags)
	c.addFlags(flags)
	complete(command, c.cluster, false)
	completeOutput(command, &c.output)
	return command
}

func (c *comparing) run(ctx context.Context, command *cobra.Command) error {
	if err := c.output.Check(); err != nil {
		return err
	}
	get, err := c.ask(ctx)
	if err != nil {
		return err
	}
	report, err := equivalence.Fetch(ctx, *c.cluster.Namespace, get)
	if err != nil {
		return err
	}
	if c.output.ForPeople() {
		err = report.Print(command.OutOrStdout())
	} else {
		err = c.output.Encode(command.OutOrStdout(), report)
	}
	switch {
	case err != nil:
		return err
	case report.Mode != equivalence.Shadow, report.Count()[equivalence.NotServed] > 0:
		return verdictError(Failed)
	case !report.Equivalent():
		return verdictError(Needs)
	}
	return nil
}
