package server

import (
	"context"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/metrics-adapter/internal/provider"
)

// podReader asks for pods in a form that can be read while it comes.
func podReader(config *rest.Config, client *http.Client) (provider.PodReader, error) {
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = clientgoscheme.Codecs.WithoutConversion()
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	core, err := rest.RESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, namespace string, options metav1.ListOptions) (io.ReadCloser, error) {
		return core.Get().Namespace(namespace).Resource("pods").VersionedParams(&options, clientgoscheme.ParameterCodec).Stream(ctx)
	}, nil
}
