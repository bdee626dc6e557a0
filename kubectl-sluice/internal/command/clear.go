package command

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// unconfigured is where client-go looks for an API server that nobody named.
const unconfigured = "http://localhost:8080/"

// helped adds to an error what to do, where it is one of how the cluster is reached.
func helped(err error) error {
	var at *url.Error
	var network net.Error
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: the API server does not take your credentials; kubectl auth whoami says whom it sees", err)
	case !errors.As(err, &at) || !errors.As(at.Err, &network) || !ofAPIServer(at.URL):
		return err
	case strings.HasPrefix(at.URL, unconfigured):
		return fmt.Errorf("no cluster is named, neither by --kubeconfig, KUBECONFIG or ~/.kube/config nor by --server: %w", err)
	}
	return fmt.Errorf("the API server cannot be reached; kubectl config view --minify says which it is: %w", err)
}

// ofAPIServer tells requests to the API server from those to a Prometheus that the
// user names.
func ofAPIServer(address string) bool {
	at, err := url.Parse(address)
	return err == nil && (strings.Contains(at.Path, "/apis/") || strings.Contains(at.Path, "/api/v1/") && !strings.Contains(at.Path, "/api/v1/query"))
}

// nothing takes no arguments.
func nothing(command *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case command.HasSubCommands():
		text := fmt.Sprintf("unknown command %q for %q", args[0], command.CommandPath())
		if near := command.SuggestionsFor(args[0]); len(near) > 0 {
			text += ", did you mean " + strings.Join(near, " or ") + "?"
		}
		return errors.New(text)
	case command.Flags().Lookup("filename") != nil:
		return fmt.Errorf("%q: files are named with -f", args[0])
	}
	return fmt.Errorf("%q: %s takes no arguments; %s --help says which flags it has", args[0], command.CommandPath(), command.CommandPath())
}

// object takes the name of one, and then more arguments.
func object(more ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		usage := command.CommandPath() + " " + strings.Join(append([]string{"<kind>/<name>"}, more...), " ")
		switch {
		case len(args) == 0:
			return fmt.Errorf("name an object, such as so/orders or sj/batch: %s", usage)
		case len(args) == len(more)+1:
			return nil
		case len(args) > len(more)+1 && why.IsKind(args[0]):
			return fmt.Errorf("write it as one word, %s/%s: %s", args[0], args[1], usage)
		}
		return fmt.Errorf("it has %d arguments, and takes %d: %s", len(args), len(more)+1, usage)
	}
}

// flagError says of a flag that is wrong where the right ones are.
func flagError(command *cobra.Command, err error) error {
	text := err.Error()
	if name, is := strings.CutPrefix(text, "unknown flag: --"); is {
		var all []string
		command.Flags().VisitAll(func(f *pflag.Flag) { all = append(all, f.Name) })
		if near := scalerv1.Nearest(name, all); near != "" {
			return fmt.Errorf("%w, did you mean --%s?", err, near)
		}
	}
	return fmt.Errorf("%w; %s --help says which there are", err, command.CommandPath())
}
