package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/uninstall"
)

// mostAnswer is how long an answer of the user's may be.
const mostAnswer = 1 << 10

// uninstalling is what the user asks for.
type uninstalling struct {
	cluster *genericclioptions.ConfigFlags
	uninstall.Options
	dry, yes bool
	output   output.Format
	timeout  time.Duration
}

func uninstallCommand() *cobra.Command {
	u := uninstalling{cluster: genericclioptions.NewConfigFlags(true)}
	command := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove Sluice, and keep every object and every replica",
		Long: `Removes Sluice in the order in which nothing is stranded: the controller, the
APIService and the webhook, finalizers that nobody is there for any more, namespaces
and roles. It goes on where an installation was removed by halves: after a
namespace that does not end, or with the controller gone first. ScaledObjects,
ScaledJobs, authentications, HPAs and replicas stay, and the next installation goes
on with them.

It says what it will do, asks the API server whether it may do all of it, and then
you. A release of Helm's is left to helm uninstall. What KEDA or another adapter
holds is never removed.

Exit codes: 0 done, or nothing to do; 1 refused or not confirmed, and nothing was
changed; 2 it failed, and may be run again.`,
		Example: `  kubectl sluice uninstall --dry-run
  kubectl sluice uninstall
  kubectl sluice uninstall --yes -o json
  kubectl sluice uninstall --crds    # and every ScaledObject of the cluster`,
		Args: nothing,
		RunE: func(command *cobra.Command, _ []string) error { return u.run(command.Context(), command) },
	}
	flags := command.Flags()
	u.cluster.AddFlags(flags)
	// The namespace of the kubeconfig is not Sluice's.
	if flag := flags.Lookup("namespace"); flag != nil {
		flag.Hidden = true
	}
	flags.StringVar(&u.Namespace, "sluice-namespace", "", "the namespace that Sluice is in, where it is found by default")
	flags.BoolVar(&u.dry, "dry-run", false, "say what would be done, and whether you may, and do nothing")
	flags.BoolVarP(&u.yes, "yes", "y", false, "do it without asking")
	flags.BoolVar(&u.CRDs, "crds", false, "delete the CRDs, too, and with them every ScaledObject, ScaledJob and authentication of the cluster")
	flags.BoolVar(&u.Grants, "grants", false, "delete the roles, too, that let families read in namespaces of users")
	flags.BoolVar(&u.LeaveShared, "leave-shared", false, "leave what KEDA, another adapter or another Sluice holds, and remove the rest")
	u.output.AddFlag(flags)
	flags.DurationVar(&u.timeout, "timeout", 5*time.Minute, "how long to wait for what ends")
	complete(command, u.cluster, false)
	completeOutput(command, &u.output)
	return command
}

func (u *uninstalling) run(ctx context.Context, command *cobra.Command) error {
	if err := u.output.Check(); err != nil {
		return err
	}
	switch {
	case !u.output.ForPeople() && !u.dry && !u.yes:
		return fmt.Errorf("-o %s asks nobody: give --yes, or --dry-run", u.output.Name)
	case u.timeout <= 0:
		return fmt.Errorf("--timeout: %s is not greater than 0", u.timeout)
	case u.cluster.Namespace != nil && *u.cluster.Namespace != "":
		return errors.New("--namespace: it is --sluice-namespace that says where Sluice is")
	}
	config, err := u.cluster.ToRESTConfig()
	if err != nil {
		return err
	}
	cluster, err := uninstall.Connect(config)
	if err != nil {
		return err
	}
	plan, err := uninstall.Look(ctx, cluster, u.Options)
	if err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	err = plan.Try(ctx, cluster)
	if err != nil {
		err = fmt.Errorf("nothing was removed, since not all of it can be: %w", err)
	}
	out := command.OutOrStdout()
	if u.output.ForPeople() {
		if failed := plan.Print(out); failed != nil {
			return errors.Join(err, failed)
		}
	}
	switch {
	case err != nil:
	case len(plan.Refused) > 0:
		err = verdictError(Needs)
	case u.dry, len(plan.Steps) == 0:
	case !u.yes && !u.confirmed(command, plan):
		fmt.Fprintln(command.ErrOrStderr(), "kubectl sluice: not confirmed, nothing was removed")
		err = verdictError(Needs)
	default:
		err = u.remove(ctx, cluster, plan, out)
	}
	if !u.output.ForPeople() {
		if failed := u.output.Encode(out, plan); failed != nil {
			return errors.Join(err, failed)
		}
	}
	return err
}

// remove does it.
func (u *uninstalling) remove(ctx context.Context, cluster *uninstall.Cluster, plan *uninstall.Plan, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	told := func(s *uninstall.Step) {
		if u.output.ForPeople() {
			fmt.Fprintln(out, "done:", s.Line())
		}
	}
	if u.output.ForPeople() {
		fmt.Fprintln(out)
	}
	if err := plan.Run(ctx, cluster, told); err != nil {
		return fmt.Errorf("%w; the same command goes on from here", err)
	}
	if u.output.ForPeople() {
		fmt.Fprintln(out, "Sluice is removed.")
	}
	return nil
}

// confirmed asks the user: for a yes, or where objects are deleted for how many.
func (u *uninstalling) confirmed(command *cobra.Command, plan *uninstall.Plan) bool {
	want, question := "yes", "Remove it? Only yes is a yes: "
	if n := plan.Objects(); n > 0 {
		want, question = strconv.Itoa(n), fmt.Sprintf("Objects are deleted for good. Type how many (%d): ", n)
	}
	fmt.Fprint(command.OutOrStdout(), "\n"+question)
	answer, _ := bufio.NewReader(io.LimitReader(command.InOrStdin(), mostAnswer)).ReadString('\n') // none is no
	return strings.TrimSpace(answer) == want
}
