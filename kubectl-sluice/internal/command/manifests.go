package command

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/check"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/peers"
)

// github is a format of this command's own.
const github = "github"

// manifests is what the user asks for.
type manifests struct {
	cluster *genericclioptions.ConfigFlags
	files   []string
	output  output.Format
	live    bool
	sluice  string
	check.Options
}

func manifestsCommand() *cobra.Command {
	m := manifests{cluster: genericclioptions.NewConfigFlags(true)}
	command := &cobra.Command{
		Use:   "check -f <file, folder or ->",
		Short: "Say what is wrong in manifests, before they are applied",
		Long: `Judges ScaledObjects, ScaledJobs, TriggerAuthentications and
ClusterTriggerAuthentications in manifests by the rules of the admission webhook and
the parameters of this version's families: every problem at once, with its file and
line. No cluster is needed; what is in none of the files is not looked for.

With --cluster they are held against your kubeconfig's cluster as well, with your
own rights: other ScaledObjects and HPAs of the same target, what targets request,
kinds that only a cluster knows, and what its families themselves say of their
triggers. Those are asked by a port that is forwarded to a Pod of theirs; a note says
of which this version's own knowledge had to do. Nothing is changed, and no Secret is
read.

Exit codes: 0 no error; 1 errors; 2 a file could not be opened, the cluster not be
asked, or the command line is wrong.`,
		Example: `  kubectl sluice check -f deploy/
  kustomize build overlays/prod | kubectl sluice check -f - --strict
  kubectl sluice check -f deploy/ -o github    # annotations of a pull request
  kubectl sluice check -f deploy/ --cluster`,
		Args: nothing,
		RunE: func(command *cobra.Command, _ []string) error { return m.run(command.Context(), command) },
	}
	flags := command.Flags()
	m.cluster.ClusterName = nil // --cluster is a word of this command's own
	m.cluster.AddFlags(flags)
	flags.Lookup("namespace").Usage = "the namespace of objects that name none"
	flags.StringSliceVarP(&m.files, "filename", "f", nil, "files, folders with all that is in them, or - for standard input")
	m.output.AddFlag(flags, github+": annotations of a pull request")
	flags.BoolVar(&m.Strict, "strict", false, "make errors of warnings")
	flags.BoolVar(&m.Differences, "differences", false, "warn also of what Sluice reads differently from KEDA")
	flags.StringVar(&m.sluice, "sluice-namespace", "sluice-system", "the namespace that Sluice is in, with --cluster")
	flags.BoolVar(&m.live, "cluster", false, "hold them against the cluster of your kubeconfig, too")
	complete(command, m.cluster, false)
	completeOutput(command, &m.output)
	return command
}

func (m *manifests) run(ctx context.Context, command *cobra.Command) error {
	if err := m.output.Check(); err != nil {
		return err
	}
	if len(m.files) == 0 {
		return errors.New("--filename: name files, folders, or - for standard input")
	}
	namespace := *m.cluster.Namespace
	if namespace == "" {
		namespace = "default"
	}
	set, err := objects.Files(m.files, command.InOrStdin(), namespace)
	if err != nil {
		return err
	}
	live, err := m.connect(ctx, set)
	if err != nil {
		return err
	}
	if m.Families != nil {
		defer m.Families.Close()
	}
	report := check.Set(ctx, set, live, m.Options)
	if err := ctx.Err(); err != nil {
		return err
	}
	switch out := command.OutOrStdout(); {
	case m.output.ForPeople():
		err = report.Print(out)
	case m.output.Name == github:
		err = report.Annotate(out)
	default:
		err = m.output.Encode(out, report)
	}
	if err != nil {
		return err
	}
	if report.Errors > 0 {
		return verdictError(Needs)
	}
	return nil
}

// connect returns the cluster that the objects are held against, nil for none.
func (m *manifests) connect(ctx context.Context, set *objects.Set) (*objects.Cluster, error) {
	if !m.live {
		return nil, nil
	}
	config, err := m.cluster.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	live, err := objects.Connect(config)
	if err != nil {
		return nil, err
	}
	if err := live.Beside(ctx, set); err != nil {
		return nil, err
	}
	installed, err := peers.Connect(config, m.sluice)
	if err != nil {
		return nil, err
	}
	m.Families, err = installed.Learn(ctx, slices.Collect(maps.Keys(set.Triggers())))
	return live, err
}
