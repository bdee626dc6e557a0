package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
)

// metricsPort is where the controller tells what it decided and compared, by the
// name of the port and where none has it.
const (
	metricsPort       = "metrics"
	metricsPortNumber = 8080
	// mostPods is how many of a controller's are looked at.
	mostPods = 50
)

// controllers are those of an installation.
type controllers struct {
	cluster          *genericclioptions.ConfigFlags
	sluice, selector string
}

// asking asks a controller for a path.
type asking = func(ctx context.Context, path string) ([]byte, error)

func (c *controllers) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.sluice, "sluice-namespace", "sluice-system", "the namespace that Sluice is in")
	flags.StringVar(&c.selector, "controller-selector", "app.kubernetes.io/name=controller,app.kubernetes.io/part-of=sluice", "labels of the controller's Pods")
}

// connect returns how the user's cluster is reached, and a client whose answers are
// bounded.
func connect(cluster *genericclioptions.ConfigFlags) (*rest.Config, *kubernetes.Clientset, error) {
	config, err := cluster.ToRESTConfig()
	if err != nil {
		return nil, nil, err
	}
	bounded := rest.CopyConfig(config)
	answers.Bound(bounded)
	clientset, err := kubernetes.NewForConfig(bounded)
	return config, clientset, err
}

// ways lead to the controllers that are ready, by way of the API server.
func (c *controllers) ways(ctx context.Context) ([]asking, error) {
	config, clientset, err := connect(c.cluster)
	if err != nil {
		return nil, err
	}
	pods, err := clientset.CoreV1().Pods(c.sluice).List(ctx, metav1.ListOptions{LabelSelector: c.selector, Limit: mostPods})
	if err != nil {
		return nil, err
	}
	var all []asking
	for i := range pods.Items {
		if !forward.Ready(&pods.Items[i]) {
			continue
		}
		port := cmp.Or(forward.PortOf(&pods.Items[i], metricsPort), metricsPortNumber)
		pod, err := forward.To(config, c.sluice, pods.Items[i].Name, port)
		if err != nil {
			return nil, err
		}
		all = append(all, hasPage(pod.Get))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no controller is ready in namespace %s: of %d Pods with %s", c.sluice, len(pods.Items), c.selector)
	}
	return all, nil
}

// noPage is what a controller says of a path that it knows nothing of.
const noPage = "404 page not found"

// hasPage asks, and says where a controller is too old to have such a page.
func hasPage(ask asking) asking {
	return func(ctx context.Context, path string) ([]byte, error) {
		answer, err := ask(ctx, path)
		var status *forward.StatusError
		if errors.As(err, &status) && status.Code == http.StatusNotFound && strings.Contains(err.Error(), noPage) {
			page, _, _ := strings.Cut(path, "?")
			return nil, fmt.Errorf("the controller is of an older version of Sluice, which has no page %s: %w", page, err)
		}
		return answer, err
	}
}

// anyone finds a controller that is ready, and the way to it.
func (c *controllers) anyone(ctx context.Context) (asking, error) {
	ways, err := c.ways(ctx)
	if err != nil {
		return nil, err
	}
	return ways[0], nil
}

// leader returns a way to whoever leads: who does not says so.
func (c *controllers) leader(ctx context.Context) (asking, error) {
	ways, err := c.ways(ctx)
	if err != nil {
		return nil, err
	}
	return leading(ways), nil
}

// leading asks each until one does not refer to another.
func leading(ways []asking) asking {
	return func(ctx context.Context, path string) (answer []byte, err error) {
		for _, ask := range ways {
			answer, err = ask(ctx, path)
			var status *forward.StatusError
			if !errors.As(err, &status) || status.Code != http.StatusMisdirectedRequest && status.Code != http.StatusBadGateway {
				return answer, err
			}
		}
		return nil, err
	}
}
