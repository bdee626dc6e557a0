package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/migrate"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
)

// byName and byNamespace are what --roles grants.
const (
	byName      = "exact"
	byNamespace = "namespace"
)

// checking is what the user asks for.
type checking struct {
	cluster *genericclioptions.ConfigFlags
	files   []string
	output  output.Format
	roles   string
	migrate.Options
}

func checkCommand() *cobra.Command {
	c := checking{cluster: genericclioptions.NewConfigFlags(true)}
	command := &cobra.Command{
		Use:   "check",
		Short: "Say what becomes of KEDA's objects under Sluice",
		Long: `Says which ScaledObjects, ScaledJobs, TriggerAuthentications and
CloudEventSources work unchanged under Sluice, which families they need, what has
to be granted and trusted, and what is read differently. It asks the cluster of
your kubeconfig, which needs to have KEDA alone, with your own rights; or, with
-f, manifests, without a cluster. It changes nothing and reads no Secret.

Exit codes: 0 everything works unchanged; 1 something has to be granted, trusted
or set; 2 something cannot be served as it is or could not be read, or the command
line is wrong.`,
		Example: `  kubectl sluice migrate check
  kubectl sluice migrate check -n shop -o json
  kubectl sluice migrate check -f manifests/
  helm template shop | kubectl sluice migrate check -f -
  kubectl sluice migrate check --roles | kubectl apply -f -`,
		Args: nothing,
		RunE: func(command *cobra.Command, _ []string) error { return c.run(command.Context(), command) },
	}
	flags := command.Flags()
	c.cluster.AddFlags(flags)
	flags.Lookup("namespace").Usage = "the namespace to check, all by default; with -f that of objects which name none"
	flags.StringSliceVarP(&c.files, "filename", "f", nil, "files, folders with all that is in them, or - for standard input, in place of a cluster")
	c.output.AddFlag(flags)
	addRoles(flags, &c.roles)
	flags.StringVar(&c.Namespace, "sluice-namespace", "sluice-system", "the namespace that Sluice is or will be in")
	flags.StringVar(&c.ClusterObjects, "cluster-object-namespace", "keda", "where Secrets of ClusterTriggerAuthentications are")
	flags.StringVar(&c.KEDANamespace, "keda-namespace", "keda", "the namespace that KEDA is in")
	flags.StringVar(&c.KEDAAccount, "keda-service-account", "keda-operator", "KEDA's ServiceAccount, which clouds trust")
	complete(command, c.cluster, false)
	completeOutput(command, &c.output)
	return command
}

// addRoles adds --roles.
func addRoles(flags *pflag.FlagSet, roles *string) {
	flags.StringVar(roles, "roles", "", "print nothing but the RBAC objects that grant what is needed: exact, the default, by the names of Secrets and ConfigMaps; namespace, all in the namespaces")
	flags.Lookup("roles").NoOptDefVal = byName
}

func checkRoles(roles string, format output.Format) error {
	switch {
	case roles != "" && roles != byName && roles != byNamespace:
		return fmt.Errorf("--roles: %q is neither %s nor %s", roles, byName, byNamespace)
	case roles != "" && !format.ForPeople():
		return errors.New("--roles prints YAML alone; -o json has the roles in the report")
	}
	return nil
}

func (c *checking) run(ctx context.Context, command *cobra.Command) error {
	if err := c.output.Check(); err != nil {
		return err
	}
	if err := checkRoles(c.roles, c.output); err != nil {
		return err
	}
	c.ByNamespace = c.roles == byNamespace
	set, live, err := c.read(ctx, command)
	if err != nil {
		return err
	}
	report := migrate.Check(ctx, set, live, c.Options)
	if err := ctx.Err(); err != nil {
		return err
	}
	out := command.OutOrStdout()
	switch {
	case c.roles != "":
		// What is not granted by them is told beside what is applied.
		if report.Outcome == migrate.CannotServe {
			fmt.Fprintln(command.ErrOrStderr(), "kubectl sluice: roles do not help everything; without --roles the check says what cannot be served")
		}
		err = report.PrintRoles(out)
	case !c.output.ForPeople():
		err = c.output.Encode(out, report)
	default:
		err = report.Print(out)
	}
	if err != nil {
		return err
	}
	switch report.Outcome {
	case migrate.CannotServe:
		return verdictError(Failed)
	case migrate.NeedsWork:
		return verdictError(Needs)
	case migrate.Unchanged:
	}
	return nil
}

// read returns the objects, and the cluster that they are from.
func (c *checking) read(ctx context.Context, command *cobra.Command) (*objects.Set, *objects.Cluster, error) {
	if len(c.files) > 0 {
		namespace := *c.cluster.Namespace
		if namespace == "" {
			namespace = "default"
		}
		set, err := objects.Files(c.files, command.InOrStdin(), namespace)
		return set, nil, err
	}
	config, err := c.cluster.ToRESTConfig()
	if err != nil {
		return nil, nil, err
	}
	live, err := objects.Connect(config)
	if err != nil {
		return nil, nil, err
	}
	set, err := live.Read(ctx, *c.cluster.Namespace)
	return set, live, err
}
