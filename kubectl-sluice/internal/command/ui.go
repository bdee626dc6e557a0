package command

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/ui"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// familyLabel is on Pods of families, with the family's name.
const familyLabel = "sluice.dev/family"

// showing is what the user asks for.
type showing struct {
	controllers
	port int
}

func uiCommand() *cobra.Command {
	s := &showing{controllers: controllers{cluster: genericclioptions.NewConfigFlags(true)}}
	command := &cobra.Command{
		Use:   "ui",
		Short: "Show what is scaled on a page, live",
		Long: `Serves a page on this machine, and prints its address: all objects with their work
and replicas, one object on a time axis with what kubectl sluice why says of it, and
the families. Nothing runs in the cluster for it, and nothing is changed by it.

It reads with your own rights: list and watch on ScaledObjects, ScaledJobs and HPAs;
and, for what the controller and the families tell, list on pods and create on
pods/portforward in the namespace of Sluice. Whoever has the address, and is at this
machine, sees what you may see.

Exit codes: 0 the page was served until it was ended; 2 it could not be served, or the
command line is wrong.`,
		Example: `  kubectl sluice ui
  kubectl sluice ui -n shop --port 8900`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return s.run(command.Context(), command) },
	}
	flags := command.Flags()
	s.cluster.AddFlags(flags)
	flags.Lookup("namespace").Usage = "the namespace that is shown, all by default"
	flags.IntVar(&s.port, "port", 0, "the port of this machine, any that is free by default")
	s.addFlags(flags)
	complete(command, s.cluster, false)
	return command
}

func (s *showing) run(ctx context.Context, command *cobra.Command) error {
	config, err := s.cluster.ToRESTConfig()
	if err != nil {
		return err
	}
	namespace := ""
	if command.Flags().Changed("namespace") {
		namespace = *s.cluster.Namespace
	}
	// What is watched is not bounded as an answer is: each object of it is.
	watching, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	one, err := why.Connect(config)
	if err != nil {
		return err
	}
	e := &explaining{controllers: s.controllers, ask: s.leader}
	looks := &ui.Looks{Instances: s.instances}
	rows := ui.NewRows()
	server, err := ui.Listen(ctx, s.port, ui.Sources{
		Rows: rows,
		Object: func(ctx context.Context, of why.Object) (*why.Facts, error) {
			facts, err := one.Read(ctx, of, time.Now())
			if err != nil {
				return nil, err
			}
			if err := e.told(ctx, facts); err != nil {
				facts.Missing = append(facts.Missing, fmt.Sprintf("what the controller knows: %v", err))
			}
			return facts, nil
		},
		Families: looks.Families,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() { ui.Watch(ctx, watching, namespace, rows) })
	working.Go(func() { ui.Measure(ctx, (&topping{ask: s.leader}).told, rows) })
	fmt.Fprintf(command.OutOrStdout(), "%s\nCtrl-C ends it.\n", server.URL())
	err = server.Serve(ctx)
	cancel()
	working.Wait()
	return err
}

// instances are the Pods of families.
func (s *showing) instances(ctx context.Context) ([]ui.Instance, error) {
	config, clientset, err := connect(s.cluster)
	if err != nil {
		return nil, err
	}
	pods, err := clientset.CoreV1().Pods(s.sluice).List(ctx, metav1.ListOptions{LabelSelector: familyLabel, Limit: ui.MostInstances})
	if err != nil {
		return nil, err
	}
	var all []ui.Instance
	for i := range pods.Items {
		pod := &pods.Items[i]
		one := ui.Instance{Family: pod.Labels[familyLabel], Pod: pod.Name, Ready: forward.Ready(pod)}
		if one.Ready {
			to, err := forward.To(config, s.sluice, pod.Name, cmp.Or(forward.PortOf(pod, metricsPort), metricsPortNumber))
			if err != nil {
				return nil, err
			}
			one.Get = func(ctx context.Context) ([]byte, error) { return to.Get(ctx, "/metrics") }
		}
		all = append(all, one)
	}
	return all, nil
}
