package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
)

// metricsPort is where the controller tells what it compared, by the name of the
// port and where none has it.
const (
	metricsPort       = "metrics"
	metricsPortNumber = 8080
	// mostPods is how many of a controller's are looked at.
	mostPods = 50
)

// comparing is what the user asks for.
type comparing struct {
	cluster          *genericclioptions.ConfigFlags
	sluice, selector string
	output           string
	// ask returns how to ask a controller.
	ask func(ctx context.Context) (asking, error)
}

// asking asks a controller for a path.
type asking = func(ctx context.Context, path string) ([]byte, error)

func compareCommand() *cobra.Command { return compareCommandOf(nil) }

// compareCommandOf is the command that asks as it is told to, or with nil finds a
// controller.
func compareCommandOf(ask func(context.Context) (asking, error)) *cobra.Command {
	c := comparing{cluster: genericclioptions.NewConfigFlags(true), ask: ask}
	if ask == nil {
		c.ask = c.controller
	}
	command := &cobra.Command{
		Use:   "compare",
		Short: "Say where Sluice, in KEDA's shadow, would do the same",
		Long: `Prints what a controller in shadow found of each ScaledObject and ScaledJob
while KEDA scales: agrees, differs (and why), cannot be served. It forwards a port
of a controller's Pod, with your own rights: list on pods and create on
pods/portforward in the namespace of Sluice.

Exit codes: 0 all objects agree; 1 some differ, or are not known yet; 2 some cannot
be served, no controller is in shadow, or it could not be asked.`,
		Example: `  kubectl sluice compare
  kubectl sluice compare -n shop -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return c.run(command.Context(), command) },
	}
	flags := command.Flags()
	c.cluster.AddFlags(flags)
	flags.Lookup("namespace").Usage = "the namespace to tell of, all by default"
	flags.StringVarP(&c.output, "output", "o", "", "json: all of the report for programs")
	flags.StringVar(&c.sluice, "sluice-namespace", "sluice-system", "the namespace that Sluice is in")
	flags.StringVar(&c.selector, "controller-selector", "app.kubernetes.io/name=controller,app.kubernetes.io/part-of=sluice", "labels of the controller's Pods")
	return command
}

func (c *comparing) run(ctx context.Context, command *cobra.Command) error {
	if c.output != "" && c.output != "json" {
		return fmt.Errorf("--output: %q is not json", c.output)
	}
	get, err := c.ask(ctx)
	if err != nil {
		return err
	}
	report, err := equivalence.Fetch(ctx, *c.cluster.Namespace, get)
	if err != nil {
		return err
	}
	if c.output == "json" {
		encoder := json.NewEncoder(command.OutOrStdout())
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.Print(command.OutOrStdout())
	}
	switch {
	case err != nil:
		return err
	case report.Mode != equivalence.Shadow, report.Count()[equivalence.NotServed] > 0:
		return verdictError(Failed)
	case !report.Equivalent():
		return verdictError(Needs)
	}
	return nil
}

// controller finds a controller that is ready, and the way to it.
func (c *comparing) controller(ctx context.Context) (asking, error) {
	config, err := c.cluster.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	bounded := rest.CopyConfig(config)
	answers.Bound(bounded)
	clientset, err := kubernetes.NewForConfig(bounded)
	if err != nil {
		return nil, err
	}
	pods, err := clientset.CoreV1().Pods(c.sluice).List(ctx, metav1.ListOptions{LabelSelector: c.selector, Limit: mostPods})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(pods.Items, ready)
	if i < 0 {
		return nil, fmt.Errorf("no controller is ready in namespace %s: of %d Pods with %s", c.sluice, len(pods.Items), c.selector)
	}
	pod, err := forward.To(config, c.sluice, pods.Items[i].Name, portOf(&pods.Items[i]))
	if err != nil {
		return nil, err
	}
	return pod.Get, nil
}

func ready(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func portOf(pod *corev1.Pod) int32 {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == metricsPort {
				return port.ContainerPort
			}
		}
	}
	return metricsPortNumber
}
