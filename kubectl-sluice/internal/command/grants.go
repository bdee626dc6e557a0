package command

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/grants"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/migrate"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
)

// granting is what the user asks for.
type granting struct {
	cluster *genericclioptions.ConfigFlags
	output  output.Format
	roles   string
	migrate.Options
}

func grantsCommand() *cobra.Command {
	g := granting{cluster: genericclioptions.NewConfigFlags(true)}
	command := &cobra.Command{
		Use:   "grants",
		Short: "Say what families may read, and what triggers need that is not granted",
		Long: `Says for each namespace and family which Secrets, ConfigMaps and ServiceAccounts
roles let it read, what the triggers there need of that, and what is missing. --roles
prints the RBAC objects that grant what is missing, for kubectl apply.

It reads ScaledObjects, ScaledJobs, authentications, targets, RoleBindings,
ClusterRoleBindings and the roles that they name, with your own rights. It changes
nothing and reads no Secret.

Exit codes: 0 nothing is missing; 1 something is; 2 the cluster could not be asked, or
the command line is wrong.`,
		Example: `  kubectl sluice grants
  kubectl sluice grants -n shop -o json
  kubectl sluice grants --roles | kubectl apply -f -`,
		Args: nothing,
		RunE: func(command *cobra.Command, _ []string) error { return g.run(command.Context(), command) },
	}
	flags := command.Flags()
	g.cluster.AddFlags(flags)
	flags.Lookup("namespace").Usage = "the namespace to look at, all by default"
	g.output.AddFlag(flags)
	addRoles(flags, &g.roles)
	flags.StringVar(&g.Namespace, "sluice-namespace", "sluice-system", "the namespace that Sluice is in")
	flags.StringVar(&g.ClusterObjects, "cluster-object-namespace", "keda", "where Secrets of ClusterTriggerAuthentications are")
	complete(command, g.cluster, false)
	completeOutput(command, &g.output)
	return command
}

func (g *granting) run(ctx context.Context, command *cobra.Command) error {
	if err := errors.Join(g.output.Check(), checkRoles(g.roles, g.output)); err != nil {
		return err
	}
	g.ByNamespace = g.roles == byNamespace
	config, err := g.cluster.ToRESTConfig()
	if err != nil {
		return err
	}
	live, err := objects.Connect(config)
	if err != nil {
		return err
	}
	report, err := g.look(ctx, live)
	if err != nil {
		return err
	}
	out := command.OutOrStdout()
	switch {
	case g.roles != "":
		for _, why := range report.Unread {
			fmt.Fprintln(command.ErrOrStderr(), "kubectl sluice: not read:", why)
		}
		err = report.PrintRoles(out)
	case !g.output.ForPeople():
		err = g.output.Encode(out, report)
	default:
		err = report.Print(out)
	}
	if err == nil && report.Failed() {
		err = verdictError(Needs)
	}
	return err
}

// look reads what is needed, and what is granted.
func (g *granting) look(ctx context.Context, live *objects.Cluster) (*grants.Report, error) {
	namespace := *g.cluster.Namespace
	set, err := live.Read(ctx, namespace)
	if err != nil {
		return nil, err
	}
	needs := migrate.Check(ctx, set, live, g.Options)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	where := []string{namespace}
	if namespace != "" { // and where else its objects need something
		for _, n := range needs.Grants {
			if !slices.Contains(where, n.Namespace) {
				where = append(where, n.Namespace)
			}
		}
	}
	var bound []objects.Bound
	var unread []string
	for _, namespace := range where {
		some, problem, err := live.Bindings(ctx, namespace, grants.About(g.Namespace))
		if err != nil {
			return nil, fmt.Errorf("%w; kubectl sluice migrate check --roles prints all that is needed, granted or not", err)
		}
		bound = append(bound, some...)
		if problem != nil && !slices.Contains(unread, problem.Error()) {
			unread = append(unread, problem.Error())
		}
	}
	var known []string
	for _, f := range families.All() {
		known = append(known, f.Name)
	}
	report := grants.Of(g.Options, needs.Grants, bound, known)
	report.Unread = unread
	for _, u := range needs.Unread {
		report.Unread = append(report.Unread, u.Object+": "+u.Problem)
	}
	return report, nil
}
