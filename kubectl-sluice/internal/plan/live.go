package plan

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
)

// Live reads an object of a cluster, nil where there is none.
func Live(ctx context.Context, config *rest.Config, namespace, name string) (*v1alpha1.ScaledObject, error) {
	config = rest.CopyConfig(config)
	answers.Bound(config)
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	got, err := objects.Resource(v1alpha1.GroupVersion.WithResource("scaledobjects")).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // there is none
	case err != nil:
		return nil, fmt.Errorf("ScaledObject %s/%s: %w", namespace, name, err)
	}
	text, err := json.Marshal(got.Object)
	if err != nil {
		return nil, err
	}
	so := &v1alpha1.ScaledObject{}
	if err := json.Unmarshal(text, so); err != nil {
		return nil, fmt.Errorf("ScaledObject %s/%s: %w", namespace, name, err)
	}
	return so, nil
}
