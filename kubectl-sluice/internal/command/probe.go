package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/probe"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// probing is what the user asks for.
type probing struct {
	cluster *genericclioptions.ConfigFlags
	sluice  string
	output  string
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
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error { return p.run(command.Context(), command, args[0]) },
	}
	flags := command.Flags()
	p.cluster.AddFlags(flags)
	flags.StringVarP(&p.output, "output", "o", "", "json: all that is known, for programs")
	flags.StringVar(&p.sluice, "sluice-namespace", "sluice-system", "the namespace that Sluice is in")
	flags.IntVar(&p.trigger, "trigger", -1, "the place of the only trigger to ask for, from 0; all by default")
	flags.DurationVar(&p.timeout, "trigger-timeout", 30*time.Second, "how long one trigger may take")
	return command
}

// kindOf is the kind that a user means.
func kindOf(text string) (kind, name string, err error) {
	word, name, found := strings.Cut(text, "/")
	word, _, _ = strings.Cut(strings.ToLower(word), ".")
	switch word {
	case "scaledobject", "scaledobjects", "so":
		kind = scalerv1.KindScaledObject
	case "scaledjob", "scaledjobs", "sj":
		kind = scalerv1.KindScaledJob
	}
	if kind == "" || !found || name == "" {
		return "", "", fmt.Errorf("%q is neither scaledobject/<name> nor scaledjob/<name>", text)
	}
	return kind, name, nil
}

func (p *probing) run(ctx context.Context, command *cobra.Command, object string) error {
	if p.output != "" && p.output != "json" {
		return fmt.Errorf("--output: %q is not json", p.output)
	}
	if p.timeout <= 0 {
		return fmt.Errorf("--trigger-timeout: %v is no time", p.timeout)
	}
	o := probe.Options{Timeout: p.timeout}
	if command.Flags().Changed("trigger") {
		o.Trigger = &p.trigger
	}
	var err error
	if o.Kind, o.Name, err = kindOf(object); err != nil {
		return err
	}
	if o.Namespace, _, err = p.cluster.ToRawKubeConfigLoader().Namespace(); err != nil {
		return err
	}
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
		return err
	}
	if p.output == "json" {
		err = report.Encode(command.OutOrStdout())
	} else {
		err = report.Print(command.OutOrStdout())
	}
	if err == nil && report.Failed() {
		err = verdictError(Needs)
	}
	return err
}
