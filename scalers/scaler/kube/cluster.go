// Package kube lets a family see the few Kubernetes objects that its triggers
// read: one watch for all who ask for the same objects, which keeps of each no
// more than is read, rings when one changes, and says by name which permission
// is missing.
package kube

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// known is what can be watched. It has no more groups than families read:
// client-go's own scheme has all there are, which every family would carry.
var known = knownTypes()

func knownTypes() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // a mistake of ours, found by any test
		}
	}
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	return scheme
}

// Requests to the API server, in a second. Watches are opened once and last.
const (
	requestsPerSecond = 100
	requestsAtOnce    = 200
)

// cluster is the API server as the family's own ServiceAccount, or as what
// KUBECONFIG names outside of a cluster.
type cluster struct {
	config *rest.Config
	http   *http.Client
}

// connect returns the one connection of the process to its API server.
func connect(ctx context.Context) (*cluster, error) {
	config, err := scaler.ClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("no API server is configured: %w", err)
	}
	return client.Shared(ctx, config.Host, func(context.Context) (*cluster, error) {
		config.QPS, config.Burst = requestsPerSecond, requestsAtOnce
		config.NegotiatedSerializer = lean{serializer.NewCodecFactory(known).WithoutConversion()}
		config.AcceptContentTypes, config.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
		config.Wrap(func(base http.RoundTripper) http.RoundTripper { return boundedPages{base} })
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return nil, fmt.Errorf("API server: %w", err)
		}
		return &cluster{config: config, http: client}, nil
	})
}

// Close ends the connections. Nobody watches any more.
func (c *cluster) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Part says that the connection is nobody's: each watch over it is counted.
func (c *cluster) Part() {}

// client asks for the objects of one API group.
func (c *cluster) client(group schema.GroupVersion) (*rest.RESTClient, error) {
	config := rest.CopyConfig(c.config)
	config.GroupVersion, config.APIPath = &group, "/apis"
	if group.Group == "" {
		config.APIPath = "/api"
	}
	return rest.RESTClientForConfigAndClient(config, c.http)
}
