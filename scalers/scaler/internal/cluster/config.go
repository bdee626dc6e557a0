// Package cluster says how the API server is reached.
package cluster

import (
	"errors"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config is how the API server is reached: as the Pod's ServiceAccount, or
// else as KUBECONFIG says.
func Config() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if err == nil || !errors.Is(err, rest.ErrNotInCluster) {
		return config, err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
}
