package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// explaining is what the user asks for.
type explaining struct {
	controllers
	output output.Format
	// connect returns the API server, ask how to ask the controller that leads.
	connect func() (*why.Cluster, error)
	ask     func(ctx context.Context) (asking, error)
	now     func() time.Time
}

func whyCommand() *cobra.Command {
	e := &explaining{controllers: controllers{cluster: genericclioptions.NewConfigFlags(true)}, now: time.Now}
	e.connect, e.ask = connecting(e.cluster), e.leader
	return e.command()
}

// connecting returns how to reach the API server of the user's flags.
func connecting(flags *genericclioptions.ConfigFlags) func() (*why.Cluster, error) {
	return func() (*why.Cluster, error) {
		config, err := flags.ToRESTConfig()
		if err != nil {
			return nil, err
		}
		return why.Connect(config)
	}
}

func (e *explaining) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "why <kind>/<name>",
		Short: "Say why an object has the replicas, or Jobs, that it has",
		Long: `Says in words what is looked at for a ScaledObject (so) or ScaledJob (sj), how old
that is and how it was noticed, what came of it, what limited it, who acts next and
when, and what would change it.

The controller that leads tells most of it. It is asked through a port of its Pod,
with your own rights: list on pods and create on pods/portforward in the namespace
of Sluice. Without it, or with an older one, it is what the API server has (status,
HPA, events, annotations), and what is missing is said at the end.

Exit codes: 0 it was said, in part at least; 2 the object could not be read, or the
command line is wrong.`,
		Example: `  kubectl sluice why so/orders -n shop
  kubectl sluice why sj/batch -o yaml`,
		Args: object(),
		RunE: func(command *cobra.Command, args []string) error { return e.run(command.Context(), command, args[0]) },
	}
	flags := command.Flags()
	e.cluster.AddFlags(flags)
	e.output.AddFlag(flags)
	e.addFlags(flags)
	complete(command, e.cluster, true)
	completeOutput(command, &e.output)
	return command
}

func (e *explaining) run(ctx context.Context, command *cobra.Command, name string) error {
	if err := e.output.Check(); err != nil {
		return err
	}
	of, err := objectOf(e.cluster, name)
	if err != nil {
		return err
	}
	cluster, err := e.connect()
	if err != nil {
		return err
	}
	facts, err := cluster.Read(ctx, of, e.now())
	if err != nil {
		return err
	}
	if err := e.told(ctx, facts); err != nil {
		facts.Missing = append(facts.Missing, fmt.Sprintf("what the controller knows: %v", err))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	report := why.Of(facts)
	if !e.output.ForPeople() {
		return e.output.Encode(command.OutOrStdout(), report)
	}
	return report.Print(command.OutOrStdout())
}

// told adds what the controller that leads tells.
func (e *explaining) told(ctx context.Context, facts *why.Facts) error {
	ask, err := e.ask(ctx)
	if err != nil {
		return err
	}
	query := url.Values{"kind": {facts.Kind}, "namespace": {facts.Namespace}, "name": {facts.Name}}
	text, err := ask(ctx, account.Path+"?"+query.Encode())
	if err != nil {
		return err
	}
	told := &account.Account{}
	if err := json.Unmarshal(text, told); err != nil {
		return fmt.Errorf("its answer makes no sense: %w", err)
	}
	switch {
	case !told.Now.IsZero():
		facts.Now = told.Now
	case facts.Jobs():
		// It took the name for a ScaledObject's.
		return errors.New("it is of an older version of Sluice, which tells nothing of ScaledJobs")
	default:
		facts.Missing = append(facts.Missing, "decisions before the last, and how readings were noticed: the controller is of an older version of Sluice")
	}
	facts.Account = told
	return nil
}

// objectOf is what a user names, in the namespace of the flags or the kubeconfig.
func objectOf(flags *genericclioptions.ConfigFlags, name string) (why.Object, error) {
	namespace := ""
	if flags.Namespace != nil {
		namespace = *flags.Namespace
	}
	if namespace == "" {
		var err error
		if namespace, _, err = flags.ToRawKubeConfigLoader().Namespace(); err != nil {
			return why.Object{}, err
		}
	}
	return why.Parse(name, namespace)
}
