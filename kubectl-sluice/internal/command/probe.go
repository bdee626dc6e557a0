package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/probe"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// probing is what the user asks for.
type probing struct {
	cluster *genericclioptions.ConfigFlags
	sluice  string
	output  output.Format
	trigger int
	timeout time.Duration
}

func probeCommand() *cobra.Command {
	p := probing{cluster: genericclioptions.NewConfigFlags(true)}
	command := &cobra.Command{
		Use:   "probe <kind>/<name>",
		Short: "Ask for what an object is scaled on, now",
		Long: `Asks the family of each trigger of a ScaledObject or ScaledJob for its value,
whether there is work, and how long that took, by a port that is forwarded to a Pod
of the family, with your own rights: get on the object, its target and Services, list
on Pods and create on pods/portforward in the namespace of Sluice.

Where a family does not answer you, because the trigger refers to credentials or you
may not forward a port, the metrics adapter is asked for what the HPA gets; that is
get on the metric in group external.metrics.k8s.io.

Exit codes: 0 all triggers have a value; 1 some have none; 2 the object could not be
read, or the command line is wrong.`,
		Example: `  kubectl sluice probe so/worker -n shop
  kubectl sluice probe scaledjob/import --trigger 1 -o json`,
		Args: object(),
		RunE: func(command *cobra.Command, args []string) error { return p.run(command.Context(), command, args[0]) },
	}
	flags := command.Flags()
	p.cluster.AddFlags(flags)
	p.output.AddFlag(flags)
	flags.StringVar(&p.sluice, "sluice-namespace", "sluice-system", "the namespace that Sluice is in")
	flags.IntVar(&p.trigger, "trigger", -1, "the place of the only trigger to ask for, from 0; all by default")
	flags.DurationVar(&p.timeout, "trigger-timeout", 30*time.Second, "how long one trigger may take")
	complete(command, p.cluster, true)
	completeOutput(command, &p.output)
	return command
}

func (p *probing) run(ctx context.Context, command *cobra.Command, object string) error {
	if err := p.output.Check(); err != nil {
		return err
	}
	if p.timeout <= 0 {
		return fmt.Errorf("--trigger-timeout: %v is no time", p.timeout)
	}
	o := probe.Options{Timeout: p.timeout}
	if command.Flags().Changed("trigger") {
		o.Trigger = &p.trigger
	}
	of, err := objectOf(p.cluster, object)
	if err != nil {
		return err
	}
	o.Kind, o.Namespace, o.Name = of.Kind, of.Namespace, of.Name
	config, err := p.cluster.ToRESTConfig()
	if err != nil {
		return err
	}
	live, err := probe.Connect(config, p.sluice)
	if err != nil {
		return err
	}
	report, err := probe.Run(ctx, live, o)
	if err != nil {
		cluster, failed := why.Connect(config)
		if failed != nil {
			return err
		}
		return cluster.Missing(ctx, of, err)
	}
	if p.output.ForPeople() {
		err = report.Print(command.OutOrStdout())
	} else {
		err = p.output.Encode(command.OutOrStdout(), report)
	}
	if err == nil && report.Failed() {
		err = verdictError(Needs)
	}
	return err
}
