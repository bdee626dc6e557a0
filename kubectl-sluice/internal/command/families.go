package command

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/fleet"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
)

// surveying is what the user asks for.
type surveying struct {
	controllers
	output output.Format
	// ask returns how to ask a controller.
	ask func(context.Context) (asking, error)
}

func familiesCommand() *cobra.Command {
	s := &surveying{controllers: controllers{cluster: genericclioptions.NewConfigFlags(true)}}
	s.ask = s.anyone
	return s.command()
}

func (s *surveying) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "families",
		Short: "Say which families are installed, needed and missing, and how they are",
		Long: `Lists the families that are installed, or that triggers of the cluster's objects
need: how they are, in which version, with how many instances, and how many triggers
need them.

A controller tells how they are, through a port of its Pod, with your own rights: list
on pods and create on pods/portforward in the namespace of Sluice. Without it, or with
an older one, it is what Services and Pods of that namespace say. What is needed takes
list on ScaledObjects and ScaledJobs.

Exit codes: 0 what is needed can be asked; 1 some of it is missing or down; 2 the
cluster could not be asked, or the command line is wrong.`,
		Example: `  kubectl sluice families
  kubectl sluice families -n shop    # needed by the objects of one namespace
  kubectl sluice families -o json`,
		Args: nothing,
		RunE: func(command *cobra.Command, _ []string) error { return s.run(command.Context(), command) },
	}
	flags := command.Flags()
	s.cluster.AddFlags(flags)
	flags.Lookup("namespace").Usage = "the namespace whose objects count, all by default"
	s.output.AddFlag(flags)
	s.addFlags(flags)
	complete(command, s.cluster, false)
	completeOutput(command, &s.output)
	return command
}

func (s *surveying) run(ctx context.Context, command *cobra.Command) error {
	if err := s.output.Check(); err != nil {
		return err
	}
	config, err := s.cluster.ToRESTConfig()
	if err != nil {
		return err
	}
	live, err := objects.Connect(config)
	if err != nil {
		return err
	}
	facts := &fleet.Facts{Namespace: s.sluice}
	if facts.Needed, err = live.TriggersByType(ctx, *s.cluster.Namespace); err != nil {
		return err
	}
	if err := s.told(ctx, facts); err != nil {
		facts.Missing = append(facts.Missing, fmt.Sprintf("what a controller knows of families, so that this is what Services and Pods say: %v", err))
		all, missing, err := fleet.Look(ctx, config, s.sluice)
		if err != nil {
			return err
		}
		facts.Told.Types = all
		facts.Missing = append(facts.Missing, missing...)
	}
	report := fleet.Of(facts)
	if s.output.ForPeople() {
		err = report.Print(command.OutOrStdout())
	} else {
		err = s.output.Encode(command.OutOrStdout(), report)
	}
	if err == nil && report.Failed() {
		err = verdictError(Needs)
	}
	return err
}

// told adds what a controller tells.
func (s *surveying) told(ctx context.Context, facts *fleet.Facts) error {
	ask, err := s.ask(ctx)
	if err != nil {
		return err
	}
	text, err := ask(ctx, account.FamiliesPath)
	if err != nil {
		return err
	}
	var told account.Families
	if err := json.Unmarshal(text, &told); err != nil {
		return fmt.Errorf("its answer makes no sense: %w", err)
	}
	facts.Told, facts.ByController = told, true
	return nil
}
