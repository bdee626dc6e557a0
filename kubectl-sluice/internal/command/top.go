package command

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/top"
)

// topping is what the user asks for.
type topping struct {
	cluster    *genericclioptions.ConfigFlags
	everywhere bool
	sort       string
	output     output.Format
}

func topCommand() *cobra.Command {
	t := topping{cluster: genericclioptions.NewConfigFlags(true)}
	command := &cobra.Command{
		Use:   "top",
		Short: "Say what has most work, and what fails",
		Long: `Lists ScaledObjects and ScaledJobs with the work that waits, what the replicas are
there for, replicas, when there was work last, and failures in a row: what statuses and
HPAs say, with your own rights to list them. What is not known is a dash.

Exit codes: 0 done; 2 the cluster could not be asked, or the command line is wrong.`,
		Example: `  kubectl sluice top -A
  kubectl sluice top -n shop --sort-by failures
  kubectl sluice top -A -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return t.run(command.Context(), command) },
	}
	flags := command.Flags()
	t.cluster.AddFlags(flags)
	flags.BoolVarP(&t.everywhere, "all-namespaces", "A", false, "all namespaces")
	flags.StringVar(&t.sort, "sort-by", "load", "active, backlog, failures, load, name or replicas")
	t.output.AddFlag(flags)
	return command
}

func (t *topping) run(ctx context.Context, command *cobra.Command) error {
	if err := t.output.Check(); err != nil {
		return err
	}
	if err := top.Sort(nil, t.sort); err != nil {
		return err
	}
	namespace := ""
	switch given := command.Flags().Changed("namespace"); {
	case t.everywhere && given:
		return errors.New("--all-namespaces: excludes --namespace")
	case !t.everywhere:
		var err error
		if namespace, _, err = t.cluster.ToRawKubeConfigLoader().Namespace(); err != nil {
			return err
		}
	}
	config, err := t.cluster.ToRESTConfig()
	if err != nil {
		return err
	}
	live, err := objects.Connect(config)
	if err != nil {
		return err
	}
	scaled, err := live.Scaled(ctx, namespace)
	if err != nil {
		return err
	}
	rows := top.Rows(scaled)
	if err := top.Sort(rows, t.sort); err != nil {
		return err
	}
	if !t.output.ForPeople() {
		return t.output.Encode(command.OutOrStdout(), top.List{Objects: rows})
	}
	return top.Print(command.OutOrStdout(), rows, time.Now())
}
