package target

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
)

var rolloutRef = v1alpha1.ScaleTarget{Name: "worker", Kind: "Rollout", APIVersion: "argoproj.io/v1alpha1"}

// rolloutOf is a Rollout with the fields of its spec.
func rolloutOf(spec map[string]any) *unstructured.Unstructured {
	u := untyped(testcluster.Rollout)
	u.SetNamespace("shop")
	u.SetName("worker")
	u.Object["spec"] = spec
	return u
}

// shelf stands in for the manager's cache: the tests choose what is in it and
// when it has been read. The real one serves the end-to-end scenarios.
type shelf struct {
	cache.Cache
	objects  client.Reader
	informer *controllertest.FakeInformer
	watched  []schema.GroupVersionKind
}

func (s *shelf) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	s.watched = append(s.watched, o.GetObjectKind().GroupVersionKind())
	return s.informer, nil
}

func (s *shelf) RemoveInformer(_ context.Context, o client.Object) error {
	s.watched = slices.DeleteFunc(s.watched, func(gvk schema.GroupVersionKind) bool { return gvk == o.GetObjectKind().GroupVersionKind() })
	return nil
}

func (s *shelf) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	return s.objects.Get(ctx, key, o, opts...)
}

// judge answers what the controller may do.
type judge struct {
	client.Client
	allows map[string]bool // by verb
	asked  []string        // "<verb> <resource> <namespace>"
}

func (j *judge) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	review, ok := o.(*authorizationv1.SelfSubjectAccessReview)
	if !ok {
		return errors.New("not a review")
	}
	a := review.Spec.ResourceAttributes
	j.asked = append(j.asked, a.Verb+" "+a.Resource+" "+a.Namespace)
	review.Status.Allowed = j.allows[a.Verb]
	return nil
}

type kindsFixture struct {
	*Client
	shelf *shelf
	judge *judge
	clock *clocktesting.FakeClock
	told  []types.NamespacedName
}

func newKindsFixture(t *testing.T, allows map[string]bool, objects ...client.Object) *kindsFixture {
	t.Helper()
	c := testcluster.New(t, "", nil, objects...)
	f := &kindsFixture{
		shelf: &shelf{objects: c.Direct, informer: controllertest.NewFakeInformer(controllertest.Synced)},
		judge: &judge{allows: allows},
		clock: clocktesting.NewFakeClock(time.Now()),
	}
	f.Client = &Client{Reader: c.Client, Direct: c.Direct, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now}, Kinds: &Kinds{
		Cache: f.shelf, Client: f.judge, Now: f.clock.Now,
		Changed: func(key types.NamespacedName) { f.told = append(f.told, key) },
	}}
	return f
}

var everything = map[string]bool{"list": true, "watch": true}

func TestKindsThatMayBeWatchedComeFromTheCache(t *testing.T) {
	f := newKindsFixture(t, everything, rolloutOf(map[string]any{
		"replicas": int64(4),
		"template": map[string]any{"spec": map[string]any{
			"serviceAccountName": "worker", "containers": []any{map[string]any{"name": "app"}},
		}},
	}))
	for range 2 {
		got, err := f.Get(t.Context(), scaling(rolloutRef))
		if err != nil || got.Replicas != 4 || got.ResourceVersion == "" || got.Template().Spec.ServiceAccountName != "worker" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if want := []string{"list rollouts ", "watch rollouts "}; !slices.Equal(f.judge.asked, want) {
		t.Errorf("asked %q, want %q once", f.judge.asked, want)
	}
}

// TestAReplicaSetIsWatchedOnceItIsATarget proves that nobody pays for the old
// ReplicaSets of Deployments, and that one that is scaled by itself has its
// replicas and template from the cache.
func TestAReplicaSetIsWatchedOnceItIsATarget(t *testing.T) {
	f := newKindsFixture(t, everything,
		testcluster.Deployment("shop", "other", nil),
		&appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"},
			Spec: appsv1.ReplicaSetSpec{
				Replicas: ptr.To[int32](2),
				Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{ServiceAccountName: "worker"}},
			},
		})
	if _, err := f.Get(t.Context(), scaling(v1alpha1.ScaleTarget{Name: "other"})); err != nil || len(f.shelf.watched) != 0 {
		t.Errorf("watches %v, %v", f.shelf.watched, err)
	}
	got, err := f.Get(t.Context(), scaling(v1alpha1.ScaleTarget{Name: "worker", Kind: "ReplicaSet"}))
	if err != nil || got.Replicas != 2 || got.GVKR.Resource != "replicasets" || got.ResourceVersion == "" ||
		got.Template().Spec.ServiceAccountName != "worker" {
		t.Errorf("%+v, %v", got, err)
	}
	if want := []schema.GroupVersionKind{appsv1.SchemeGroupVersion.WithKind("ReplicaSet")}; !slices.Equal(f.shelf.watched, want) {
		t.Errorf("watches %v, want %v", f.shelf.watched, want)
	}
}

func TestWatchedKinds(t *testing.T) {
	tests := map[string]struct {
		objects []client.Object
		message string
	}{
		"missing":             {message: "argoproj.io/v1alpha1.Rollout shop/worker not found"},
		"without replicas":    {[]client.Object{rolloutOf(map[string]any{})}, "argoproj.io/v1alpha1.Rollout shop/worker not found"},
		"replicas of a sort":  {[]client.Object{rolloutOf(map[string]any{"replicas": "many"})}, "argoproj.io/v1alpha1.Rollout shop/worker not found"},
		"a template of a son": {[]client.Object{rolloutOf(map[string]any{"replicas": int64(1), "template": map[string]any{"spec": "x"}})}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := newKindsFixture(t, everything, tt.objects...).Get(t.Context(), scaling(rolloutRef))
			if tt.message == "" {
				if err != nil || got.Template() != nil {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err == nil || err.Error() != tt.message {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
}

func TestKindsThatMayNotBeWatchedAreReadDirectlyAndAskedForAgain(t *testing.T) {
	f := newKindsFixture(t, map[string]bool{"list": true}, rolloutOf(map[string]any{"replicas": int64(4)}))
	read := func() {
		// Its scale subresource is asked for, which a Rollout does not have here.
		if _, err := f.Get(t.Context(), scaling(rolloutRef)); err == nil {
			t.Error("read from a cache")
		}
	}
	read()
	read()
	if len(f.judge.asked) != 2 || len(f.shelf.watched) != 0 {
		t.Errorf("asked %q, watches %v", f.judge.asked, f.shelf.watched)
	}
	f.judge.allows = everything
	f.clock.Step(askAgain)
	if got, err := f.Get(t.Context(), scaling(rolloutRef)); err != nil || got.Replicas != 4 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestATargetThatIsNotInTheCacheIsReadWithItsTemplate(t *testing.T) {
	crew := v1alpha1.ScaleTarget{Name: "worker", Kind: "Crew", APIVersion: "example.org/v1"}
	template := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "app"}}}}
	tests := map[string]struct {
		allows    map[string]bool
		synced    bool
		forbidden bool
		unwatched bool
		template  bool
	}{
		"not watched":             {unwatched: true, template: true},
		"not watched nor read":    {forbidden: true, unwatched: true},
		"watched, and not synced": {allows: everything, unwatched: true, template: true},
		"watched":                 {allows: everything, synced: true, template: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newKindsFixture(t, tt.allows, testcluster.CrewOf("shop", "worker", 4, template))
			if !tt.synced {
				f.shelf.informer = controllertest.NewFakeInformer()
			}
			if tt.forbidden {
				f.Direct = closed{f.Direct}
			}
			got, err := f.Whole(t.Context(), scaling(crew))
			if err != nil || got.Replicas != 4 || got.Unwatched != tt.unwatched || (got.Template() != nil) != tt.template {
				t.Errorf("%+v with template %v, %v", got, got.Template(), err)
			}
		})
	}
	t.Run("gone meanwhile", func(t *testing.T) {
		f := newKindsFixture(t, nil, testcluster.CrewOf("shop", "worker", 4, template))
		f.Direct = testcluster.New(t, "", nil).Direct
		var missing *MissingError
		if _, err := f.Whole(t.Context(), scaling(crew)); !errors.As(err, &missing) {
			t.Errorf("error %v", err)
		}
	})
}

// closed may not read.
type closed struct{ client.Reader }

func (closed) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewForbidden(schema.GroupResource{Group: "example.org", Resource: "crews"}, key.Name, errors.New("no"))
}

func TestAKindIsReadDirectlyUntilTheCacheHasIt(t *testing.T) {
	f := newKindsFixture(t, everything, rolloutOf(map[string]any{"replicas": int64(4)}))
	f.shelf.informer = controllertest.NewFakeInformer()
	if _, err := f.Get(t.Context(), scaling(rolloutRef)); err == nil {
		t.Error("read from a cache that is not filled")
	}
	f.shelf.informer.Synced()
	if got, err := f.Get(t.Context(), scaling(rolloutRef)); err != nil || got.Replicas != 4 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestKindsAreAskedForPerNamespace(t *testing.T) {
	f := newKindsFixture(t, everything)
	f.Kinds.Namespaces = []string{"a", "b"}
	if _, err := f.Get(t.Context(), scaling(rolloutRef)); err == nil {
		t.Error("found")
	}
	if want := []string{"list rollouts a", "watch rollouts a", "list rollouts b", "watch rollouts b"}; !slices.Equal(f.judge.asked, want) {
		t.Errorf("asked %q, want %q", f.judge.asked, want)
	}
}

func TestChangesOfWatchedTargetsAreTold(t *testing.T) {
	f := newKindsFixture(t, everything)
	if _, err := f.Get(t.Context(), scaling(rolloutRef)); err == nil {
		t.Error("found")
	}
	before, after := rolloutOf(nil), rolloutOf(nil)
	before.SetGeneration(1)
	after.SetGeneration(2)
	informer := f.shelf.informer
	for what, change := range map[string]func(){
		"came":    func() { informer.Add(before) },
		"changed": func() { informer.Update(before, after) },
		"went":    func() { informer.Delete(after) },
		"went unseen": func() {
			f.Kinds.tell(toolscache.DeletedFinalStateUnknown{Key: "shop/worker", Obj: after})
		},
	} {
		f.told = nil
		change()
		if want := (types.NamespacedName{Namespace: "shop", Name: "worker"}); len(f.told) != 1 || f.told[0] != want {
			t.Errorf("%s: told %v", what, f.told)
		}
	}
	f.told = nil
	informer.Update(after, after)
	if len(f.told) != 0 {
		t.Errorf("a status is told: %v", f.told)
	}
}

func TestKindsThatNobodyNeedsAreNoLongerWatched(t *testing.T) {
	f := newKindsFixture(t, everything)
	sweep := func(want int) {
		t.Helper()
		if err := f.Kinds.sweep(t.Context()); err != nil || len(f.shelf.watched) != want {
			t.Errorf("watches %v, %v", f.shelf.watched, err)
		}
	}
	if _, err := f.Get(t.Context(), scaling(rolloutRef)); err == nil {
		t.Error("found")
	}
	f.clock.Step(keptFor - time.Second)
	sweep(1)
	f.clock.Step(time.Second)
	sweep(0)
	if len(f.Kinds.kinds) != 0 {
		t.Errorf("%d kinds remembered", len(f.Kinds.kinds))
	}
}
