package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/top"
)

// topping is what the user asks for.
type topping struct {
	cluster    *genericclioptions.ConfigFlags
	everywhere bool
	sort       string
	watch      bool
	interval   time.Duration
	screen     io.Writer
	output     output.Format
}

// topCommand lists what is scaled. screen is what --watch shows it on, for commands to
// a terminal, too.
func topCommand(screen io.Writer) *cobra.Command {
	t := topping{cluster: genericclioptions.NewConfigFlags(true), screen: screen}
	command := &cobra.Command{
		Use:   "top",
		Short: "Say what has most work, and what fails",
		Long: `Lists ScaledObjects and ScaledJobs with the work that waits, what the replicas are
there for, replicas, when there was work last, and failures in a row: what statuses and
HPAs say, with your own rights to list them. What is not known is a dash.

With --watch it stays on the screen, is read again and again, and is sorted and
scrolled by keys; the last line says which.

Exit codes: 0 done; 2 the cluster could not be asked, or the command line is wrong.`,
		Example: `  kubectl sluice top -A
  kubectl sluice top -n shop --sort-by failures
  kubectl sluice top -A --watch
  kubectl sluice top -A -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return t.run(command.Context(), command) },
	}
	flags := command.Flags()
	t.cluster.AddFlags(flags)
	flags.BoolVarP(&t.everywhere, "all-namespaces", "A", false, "all namespaces")
	flags.StringVar(&t.sort, "sort-by", "load", strings.Join(top.Orders(), ", "))
	flags.BoolVarP(&t.watch, "watch", "w", false, "stay, and read again and again")
	flags.DurationVar(&t.interval, "interval", 2*time.Second, "with --watch: how long to wait between two reads")
	t.output.AddFlag(flags)
	complete(command, t.cluster, false)
	completeOutput(command, &t.output)
	_ = command.RegisterFlagCompletionFunc("sort-by", cobra.FixedCompletions(top.Orders(), cobra.ShellCompDirectiveNoFileComp)) // it has that flag
	return command
}

func (t *topping) run(ctx context.Context, command *cobra.Command) error {
	if err := t.output.Check(); err != nil {
		return err
	}
	if err := top.Sort(nil, t.sort); err != nil {
		return err
	}
	switch {
	case t.watch && !t.output.ForPeople():
		return errors.New("--watch is for people, and excludes --output")
	case t.interval < time.Second:
		return fmt.Errorf("--interval: %v is less than 1s, which the API server is spared", t.interval)
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
	read := func(ctx context.Context) ([]top.Row, error) {
		scaled, err := live.Fresh().Scaled(ctx, namespace)
		if err != nil {
			return nil, err
		}
		return top.Rows(scaled), nil
	}
	if t.watch {
		return t.stay(ctx, command, read)
	}
	rows, err := read(ctx)
	if err != nil {
		return err
	}
	if err := top.Sort(rows, t.sort); err != nil {
		return err
	}
	if !t.output.ForPeople() {
		return t.output.Encode(command.OutOrStdout(), top.List{Objects: rows})
	}
	return top.Print(command.OutOrStdout(), rows, time.Now())
}

// stay shows it until the user quits.
func (t *topping) stay(ctx context.Context, command *cobra.Command, read func(context.Context) ([]top.Row, error)) (err error) {
	if _, err := read(ctx); err != nil { // what is wrong with the question is said at once
		return err
	}
	screen, err := terminal.Open(command.InOrStdin(), t.screen)
	if err != nil {
		return fmt.Errorf("--watch: %w; without it the list is printed once", err)
	}
	defer func() { err = errors.Join(err, screen.Close()) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	w := top.Watch{
		Read: read, Every: t.interval, By: t.sort, In: command.InOrStdin(), Out: t.screen, Size: screen.Size, Now: time.Now, Tick: tick.C,
	}
	return w.Run(ctx)
}
