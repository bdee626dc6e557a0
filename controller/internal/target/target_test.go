package target

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
)

func clientOver(t *testing.T, objects ...client.Object) *Client {
	t.Helper()
	c := testcluster.New(t, "", nil, objects...)
	return &Client{Reader: c.Client, Direct: c.Direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now}}
}

func scaling(ref v1alpha1.ScaleTarget) *v1alpha1.ScaledObject {
	return &v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: v1alpha1.ScaledObjectSpec{ScaleTargetRef: ref}}
}

func TestGet(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "worker"}
	tests := map[string]struct {
		ref      v1alpha1.ScaleTarget
		objects  []client.Object
		replicas int32
		resource string
		message  string
		missing  bool
	}{
		"Deployment by default": {
			ref: v1alpha1.ScaleTarget{Name: "worker"}, objects: []client.Object{&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3)}}},
			replicas: 3, resource: "deployments",
		},
		"replicas that are not given are 1": {
			ref: v1alpha1.ScaleTarget{Name: "worker"}, objects: []client.Object{&appsv1.Deployment{ObjectMeta: meta}},
			replicas: 1, resource: "deployments",
		},
		"StatefulSet": {
			ref: v1alpha1.ScaleTarget{Name: "worker", Kind: "StatefulSet"}, objects: []client.Object{&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](0)}}},
			resource: "statefulsets",
		},
		"missing": {
			ref: v1alpha1.ScaleTarget{Name: "worker"}, message: "apps/v1.Deployment shop/worker not found", missing: true,
		},
		"missing of another kind": {
			ref:     v1alpha1.ScaleTarget{Name: "worker", Kind: "Rollout", APIVersion: "argoproj.io/v1alpha1"},
			message: "argoproj.io/v1alpha1.Rollout shop/worker not found", missing: true,
		},
		"without a scale subresource": {
			ref:     v1alpha1.ScaleTarget{Name: "worker", Kind: "DaemonSet"},
			message: "apps/v1.DaemonSet shop/worker has no scale subresource",
		},
		"a kind in another case": {
			ref: v1alpha1.ScaleTarget{Name: "worker", Kind: "statefulset"}, objects: []client.Object{&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](2)}}},
			replicas: 2, resource: "statefulsets",
		},
		"a plural": {
			ref: v1alpha1.ScaleTarget{Name: "worker", Kind: "Deployments"}, objects: []client.Object{&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](4)}}},
			replicas: 4, resource: "deployments",
		},
		"Job": {
			ref:     v1alpha1.ScaleTarget{Name: "worker", Kind: "Job", APIVersion: "batch/v1"},
			message: "batch/v1.Job shop/worker cannot be scaled: use a ScaledJob",
		},
		"unknown kind": {
			ref: v1alpha1.ScaleTarget{Name: "worker", Kind: "Widget", APIVersion: "example.org/v1"}, message: "kind: example.org/v1 Widget is not known to this cluster",
		},
		"version that is none": {
			ref: v1alpha1.ScaleTarget{Name: "worker", APIVersion: "a/b/c"}, message: `apiVersion: "a/b/c" is not a group and version`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := clientOver(t, tt.objects...).Get(t.Context(), scaling(tt.ref))
			if tt.message != "" {
				var missing *MissingError
				if err == nil || err.Error() != tt.message || errors.As(err, &missing) != tt.missing {
					t.Errorf("error %v, want %q", err, tt.message)
				}
				return
			}
			if err != nil || got.Replicas != tt.replicas || got.GVKR.Resource != tt.resource || got.ResourceVersion == "" || got.Template() == nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestScaleRefusesToWriteOverALaterVersion(t *testing.T) {
	c := clientOver(t, testcluster.Deployment("shop", "worker", ptr.To[int32](3)))
	so := scaling(v1alpha1.ScaleTarget{Name: "worker"})
	before, err := c.Get(t.Context(), so)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Scale(t.Context(), before, 5); err != nil {
		t.Fatal(err)
	}
	if err := c.Scale(t.Context(), before, 7); !apierrors.IsConflict(err) {
		t.Errorf("error %v, want a conflict", err)
	}
	if after, err := c.Get(t.Context(), so); err != nil || after.Replicas != 5 {
		t.Errorf("%+v, %v", after, err)
	}
}

var deployments = v1alpha1.GroupVersionKindResource{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments"}

func TestAPermissionThatIsMissingIsTold(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Group: "argoproj.io", Resource: "rollouts"}, "worker", errors.New("no"))
	kind := v1alpha1.GroupVersionKindResource{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout", Resource: "rollouts"}
	err := notFound(forbidden, Target{GVKR: kind})
	var missing *PermissionError
	if !errors.As(err, &missing) || !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "kubectl label clusterrole sluice-rollouts-argoproj-io sluice.dev/aggregate-to-controller=true") {
		t.Errorf("error %v", err)
	}
	if err := notGranted(forbidden, deployments); errors.As(err, &missing) {
		t.Errorf("a kind that comes with the installation: %v", err)
	}
}
