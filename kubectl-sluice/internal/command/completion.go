package command

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
)

const (
	// completionTime is how long a shell is kept waiting.
	completionTime = 3 * time.Second
	// mostNames are offered.
	mostNames = 500
)

// complete has a command complete its flags. objects is whether its first argument is
// an object.
func complete(command *cobra.Command, cluster *genericclioptions.ConfigFlags, objects bool) {
	offer := func(flag string, names func(context.Context, string) []string) {
		if command.Flags().Lookup(flag) == nil {
			return
		}
		_ = command.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return begunWith(names(c.Context(), begun), begun), cobra.ShellCompDirectiveNoFileComp
		}) // it fails where there is one already
	}
	offer("namespace", func(ctx context.Context, _ string) []string { return listed(ctx, cluster, "", namespaces) })
	offer("sluice-namespace", func(ctx context.Context, _ string) []string { return listed(ctx, cluster, "", namespaces) })
	offer("context", func(context.Context, string) []string {
		config, err := cluster.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil
		}
		var names []string
		for name := range config.Contexts {
			names = append(names, name)
		}
		return names
	})
	offer("roles", func(context.Context, string) []string { return []string{byName, byNamespace} })
	if !objects {
		return
	}
	command.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		kind, _, named := strings.Cut(begun, "/")
		if !named {
			return begunWith([]string{"so/", "sj/"}, begun), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		of, err := objectOf(cluster, kind+"/x")
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := listed(c.Context(), cluster, of.Namespace, v1alpha1.GroupVersion.WithResource(strings.ToLower(of.Kind)+"s"))
		for i, name := range names {
			names[i] = kind + "/" + name
		}
		return begunWith(names, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeOutput offers the formats of a command.
func completeOutput(command *cobra.Command, format *output.Format) {
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(format.Names(), cobra.ShellCompDirectiveNoFileComp)) // it has that flag
}

var namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// listed are names of objects. A shell is told of no error.
func listed(ctx context.Context, cluster *genericclioptions.ConfigFlags, namespace string, resource schema.GroupVersionResource) []string {
	config, err := cluster.ToRESTConfig()
	if err != nil {
		return nil
	}
	config = rest.CopyConfig(config)
	config.Timeout = completionTime
	answers.Bound(config)
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil
	}
	list, err := client.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: mostNames})
	if err != nil {
		return nil
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// begunWith are the words that begin as the user began.
func begunWith(words []string, begun string) []string {
	words = slices.DeleteFunc(words, func(word string) bool { return !strings.HasPrefix(word, begun) })
	slices.Sort(words)
	return words
}
