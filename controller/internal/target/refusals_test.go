package target

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
)

// server is an API server that refuses Rollouts but for some, and counts.
type server struct {
	*Client
	now     time.Time
	asked   int
	granted map[types.NamespacedName]bool
}

// ServerResourcesForGroupVersion counts as a request, too.
func (s *server) ServerResourcesForGroupVersion(gv string) (*metav1.APIResourceList, error) {
	s.asked++
	return testcluster.Resources.ServerResourcesForGroupVersion(gv)
}

func newServer(t *testing.T, objects ...client.Object) *server {
	t.Helper()
	s := &server{now: time.Now(), granted: map[types.NamespacedName]bool{}}
	under, ok := testcluster.New(t, "", nil, objects...).Direct.(client.WithWatch)
	if !ok {
		t.Fatal("the cluster's client does not watch")
	}
	judge := func(key types.NamespacedName) error {
		s.asked++
		if s.granted[key] {
			return nil
		}
		return apierrors.NewForbidden(schema.GroupResource{Group: "argoproj.io", Resource: "rollouts"}, key.Name, errors.New("no"))
	}
	api := interceptor.NewClient(under, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if err := judge(key); err != nil {
				return err
			}
			return c.Get(ctx, key, o, opts...)
		},
		SubResourceGet: func(ctx context.Context, c client.Client, name string, o, sub client.Object, opts ...client.SubResourceGetOption) error {
			if err := judge(client.ObjectKeyFromObject(o)); err != nil {
				return err
			}
			return c.SubResource(name).Get(ctx, o, sub, opts...)
		},
	})
	s.Client = &Client{Reader: api, Direct: api, Discovery: &kinds.Discovery{API: s, Now: func() time.Time { return s.now }}}
	return s
}

// rollout is the i-th object of a namespace, whose target nobody may read.
func (s *server) rollout(t *testing.T, namespace string, i int) error {
	t.Helper()
	so := scaling(v1alpha1.ScaleTarget{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: fmt.Sprint("r", i)})
	so.Namespace = namespace
	_, err := s.Whole(t.Context(), so)
	return err
}

// Thousands of objects of a namespace scale a kind that the controller may not
// read. The API server is asked for a few of them, and says no to all.
func TestRefusedTargetsAreAskedForNowAndThen(t *testing.T) {
	s := newServer(t)
	var refused *PermissionError
	for i := range 2000 {
		if err := s.rollout(t, "flood", i); !errors.As(err, &refused) {
			t.Fatalf("object %d: %v", i, err)
		}
	}
	if s.asked > mostRefusals+1 { // and which resources the group has
		t.Errorf("%d requests for 2000 objects", s.asked)
	}
	asked := s.asked
	if err := s.rollout(t, "shop", 0); !errors.As(err, &refused) || s.asked != asked+1 {
		t.Errorf("another namespace: %d requests, %v", s.asked-asked, err)
	}
	s.now = s.now.Add(refusedFor)
	if s.rollout(t, "flood", 0) == nil || s.asked != asked+2 {
		t.Errorf("%d requests once the time is over", s.asked-asked-1)
	}
}

// Rights may be about single objects: where one was read, all are asked for.
func TestGrantedAmongRefused(t *testing.T) {
	s := newServer(t)
	mine := types.NamespacedName{Namespace: "shop", Name: "r5"}
	s.granted[mine] = true
	for i := range 5 {
		_ = s.rollout(t, "shop", i)
	}
	for range 3 {
		for i := range 3 * mostRefusals {
			if err := s.rollout(t, "shop", i); apierrors.IsForbidden(err) != (i != 5) {
				t.Fatalf("object %d: %v", i, err)
			}
		}
	}
	s.now = s.now.Add(grantedFor)
	asked := s.asked
	for i := range 3 * mostRefusals {
		_ = s.rollout(t, "shop", i+100)
	}
	if n := s.asked - asked; n > mostRefusals+1 {
		t.Errorf("%d requests long after the last that was granted", n)
	}
}

// Each object of a namespace names a group of its own that there is not.
func TestMadeUpKindsAreLookedForNowAndThen(t *testing.T) {
	s := newServer(t)
	made := func(namespace string, i int) error {
		so := scaling(v1alpha1.ScaleTarget{APIVersion: fmt.Sprintf("g%d.example.org/v1", i), Kind: "Crew", Name: "r"})
		so.Namespace = namespace
		_, err := s.Get(t.Context(), so)
		return err
	}
	for i := range 2000 {
		if made("flood", i) == nil {
			t.Fatalf("object %d has a target", i)
		}
	}
	if s.asked > mostRefusals {
		t.Errorf("%d requests for 2000 groups", s.asked)
	}
	if err := made("flood", 2000); !strings.Contains(err.Error(), "namespace flood names more than 20 kinds") {
		t.Errorf("it is told %v", err)
	}
	var unknown *kinds.UnknownKindError
	if err := made("shop", 2000); !errors.As(err, &unknown) {
		t.Errorf("another namespace is told %v", err)
	}
	// A group that there is among them changes nothing.
	s.now = s.now.Add(refusedFor)
	asked := s.asked
	for i := range 200 {
		_ = made("flood", i)
		if i == 5 {
			_ = s.rollout(t, "flood", 0)
		}
	}
	if n := s.asked - asked; n > mostRefusals+2 {
		t.Errorf("%d requests for 200 groups", n)
	}
	// What is remembered is resolved all the same.
	s.granted[types.NamespacedName{Namespace: "flood", Name: "r0"}] = true
	var missing *MissingError
	if err := s.rollout(t, "flood", 0); !errors.As(err, &missing) {
		t.Errorf("a kind that there is: %v", err)
	}
}

// Whatever is asked, so much is remembered of it.
func TestWhatIsRememberedOfRefusalsIsBounded(t *testing.T) {
	var r refusals
	no := apierrors.NewForbidden(schema.GroupResource{Resource: "rollouts"}, "r", errors.New("no"))
	now := time.Now()
	for i := range 3 * mostAsked {
		r.heard(asked{namespace: fmt.Sprint(i)}, no, now.Add(time.Duration(i)))
	}
	if len(r.of) > mostAsked {
		t.Errorf("%d questions are remembered", len(r.of))
	}
	if _, ok := r.of[asked{namespace: fmt.Sprint(3*mostAsked - 1)}]; !ok {
		t.Error("the last one is not")
	}
}
