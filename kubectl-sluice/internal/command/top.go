package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/top"
)

// topping is what the user asks for.
type topping struct {
	controllers
	// ask returns how to ask the controller that leads.
	ask        func(context.Context) (asking, error)
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
	t := &topping{controllers: controllers{cluster: genericclioptions.NewConfigFlags(true)}, screen: screen}
	t.ask = t.leader
	return t.command()
}

func (t *topping) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "top",
		Short: "Say what has most work, and what fails",
		Long: `Lists ScaledObjects and ScaledJobs with the work that waits, what the replicas are
there for, replicas, when there was work last, and failures in a row: what statuses and
HPAs say, with your own rights to list them. What is not known is a dash.

COLD START is how long work waited for a ready replica when it last found none. The
controller that leads tells it, through a port of its Pod: that takes list on pods and
create on pods/portforward in the namespace of Sluice.

With --watch it stays on the screen, is read again and again, and is sorted and
scrolled by keys; the last line says which.

Exit codes: 0 done; 2 the cluster could not be asked, or the command line is wrong.`,
		Example: `  kubectl sluice top -A
  kubectl sluice top -n shop --sort-by failures
  kubectl sluice top -A --watch
  kubectl sluice top -A -o json`,
		Args: nothing,
		RunE: func(command *cobra.Command, _ []string) error { return t.run(command.Context(), command) },
	}
	flags := command.Flags()
	t.cluster.AddFlags(flags)
	flags.BoolVarP(&t.everywhere, "all-namespaces", "A", false, "all namespaces")
	flags.StringVar(&t.sort, "sort-by", "load", strings.Join(top.Orders(), ", "))
	flags.BoolVarP(&t.watch, "watch", "w", false, "stay, and read again and again")
	flags.DurationVar(&t.interval, "interval", 2*time.Second, "with --watch: how long to wait between two reads")
	t.output.AddFlag(flags)
	t.addFlags(flags)
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
	cold := t.coldStarts()
	read := func(ctx context.Context) (*top.List, error) {
		scaled, err := live.Fresh().Scaled(ctx, namespace)
		if err != nil {
			return nil, err
		}
		list := &top.List{Objects: top.Rows(scaled)}
		switch told, err := cold(ctx); {
		case len(scaled.ScaledObjects) == 0: // there is nothing to ask about
		case err != nil:
			list.Missing = append(list.Missing, fmt.Sprintf("cold starts: %v", err))
		default:
			top.Measured(list.Objects, told)
		}
		return list, nil
	}
	if t.watch {
		return t.stay(ctx, command, read)
	}
	list, err := read(ctx)
	if err != nil {
		return err
	}
	if err := top.Sort(list.Objects, t.sort); err != nil {
		return err
	}
	if !t.output.ForPeople() {
		return t.output.Encode(command.OutOrStdout(), list)
	}
	if len(list.Objects) == 0 && namespace != "" {
		_, err := fmt.Fprintf(command.OutOrStdout(), "nothing is scaled in namespace %s; -A looks in all\n", namespace)
		return err
	}
	return list.Print(command.OutOrStdout(), time.Now())
}

// coldStartsAge is how old what is told of cold starts may be: a way through the API
// server is not opened for every look at a list.
const coldStartsAge = 20 * time.Second

// coldStarts returns what asks for them, or says again what came of it before.
func (t *topping) coldStarts() func(context.Context) (*account.ColdStarts, error) {
	var last *account.ColdStarts
	var failed error
	var asked time.Time
	return func(ctx context.Context) (*account.ColdStarts, error) {
		if asked.IsZero() || time.Since(asked) >= coldStartsAge {
			last, failed = t.told(ctx)
			asked = time.Now()
		}
		return last, failed
	}
}

// told is what the controller that leads tells.
func (t *topping) told(ctx context.Context) (*account.ColdStarts, error) {
	ask, err := t.ask(ctx)
	if err != nil {
		return nil, err
	}
	text, err := ask(ctx, account.ColdStartsPath)
	if err != nil {
		return nil, err
	}
	told := &account.ColdStarts{}
	if err := json.Unmarshal(text, told); err != nil {
		return nil, fmt.Errorf("its answer makes no sense: %w", err)
	}
	return told, nil
}

// stay shows it until the user quits.
func (t *topping) stay(ctx context.Context, command *cobra.Command, read func(context.Context) (*top.List, error)) (err error) {
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
