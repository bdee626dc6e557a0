package command

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// overriding is what the user asks for.
type overriding struct {
	cluster *genericclioptions.ConfigFlags
	reason  string
	output  output.Format
	connect func() (*why.Cluster, error)
}

// overrideFunc does what a command is for to an object, and returns what it did.
type overrideFunc = func(ctx context.Context, o *overriding, cluster *why.Cluster, of why.Object, args []string) (string, error)

// overridden is what was done, for programs.
type overridden struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Done      string `json:"done"`
}

func (o *overriding) run(command *cobra.Command, args []string, do overrideFunc) error {
	if err := o.output.Check(); err != nil {
		return err
	}
	of, err := objectOf(o.cluster, args[0])
	if err != nil {
		return err
	}
	cluster, err := o.connect()
	if err != nil {
		return err
	}
	done, err := do(command.Context(), o, cluster, of, args[1:])
	switch {
	case err != nil:
		return err
	case !o.output.ForPeople():
		return o.output.Encode(command.OutOrStdout(), overridden{of.Kind, of.Namespace, of.Name, done})
	}
	_, err = fmt.Fprintln(command.OutOrStdout(), done)
	return err
}

// overrides are the commands by which somebody overrides the autoscaler.
func overrides() []*cobra.Command {
	return overridesOf(nil)
}

// overridesOf are those of a cluster, or with nil of the user's.
func overridesOf(connect func() (*why.Cluster, error)) []*cobra.Command {
	command := func(use, short, long, example string, more []string, reason bool, do overrideFunc) *cobra.Command {
		o := &overriding{cluster: genericclioptions.NewConfigFlags(true)}
		if o.connect = connect; connect == nil {
			o.connect = connecting(o.cluster)
		}
		c := &cobra.Command{
			Use: use, Short: short, Long: long, Example: example, Args: object(more...),
			RunE: func(command *cobra.Command, args []string) error {
				return o.run(command, args, do)
			},
		}
		o.cluster.AddFlags(c.Flags())
		o.output.AddFlag(c.Flags())
		complete(c, o.cluster, true)
		completeOutput(c, &o.output)
		if reason {
			c.Flags().StringVar(&o.reason, "reason", "", "why, for whoever asks kubectl sluice why")
		}
		return c
	}
	return []*cobra.Command{
		command("pause <kind>/<name>", "Stop the scaling of an object, and leave what it has", `Stops the scaling of a ScaledObject, whose replicas stay, or of a ScaledJob, of
which no Job starts any more; Jobs that run go on. It sets the annotation
autoscaling.keda.sh/paused, and sluice.dev/pause-reason.`,
			`  kubectl sluice pause so/orders -n shop --reason "the broker moves until 18:00"`, nil, true, pause),
		command("pin <kind>/<name> <replicas>", "Stop the scaling of an object at a number of replicas", `Gives the target of a ScaledObject so many replicas, and stops the scaling there. It
sets the annotation autoscaling.keda.sh/paused-replicas, and sluice.dev/pause-reason.
A ScaledJob has no replicas, and is refused.`,
			`  kubectl sluice pin so/orders 5 -n shop --reason "load test"`, []string{"<replicas>"}, true, pin),
		command("resume <kind>/<name>", "Take all pauses off an object", `Takes off what pause and pin set, and the annotations
autoscaling.keda.sh/paused-scale-in and paused-scale-out. The triggers are asked
afresh before anything goes toward zero.`,
			`  kubectl sluice resume so/orders -n shop`, nil, false, resume),
	}
}

func pause(ctx context.Context, o *overriding, cluster *why.Cluster, of why.Object, _ []string) (string, error) {
	return fmt.Sprintf("%s is paused", of), cluster.Pause(ctx, of, o.reason)
}

func pin(ctx context.Context, o *overriding, cluster *why.Cluster, of why.Object, args []string) (string, error) {
	replicas, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil {
		return "", fmt.Errorf("%q is no number of replicas", args[0])
	}
	return fmt.Sprintf("%s is pinned to %d replicas", of, replicas), cluster.Pin(ctx, of, int32(replicas), o.reason)
}

func resume(ctx context.Context, _ *overriding, cluster *why.Cluster, of why.Object, _ []string) (string, error) {
	were, err := cluster.Resume(ctx, of)
	if len(were) == 0 {
		return fmt.Sprintf("%s was not paused", of), err
	}
	return fmt.Sprintf("%s scales again; it had %s", of, strings.Join(were, ", ")), err
}
