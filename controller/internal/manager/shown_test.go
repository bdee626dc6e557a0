package manager

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	sourcetesting "k8s.io/client-go/tools/cache/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// Jobs and Pods are shown as the cache has them, those of one ScaledJob alone,
// whether one namespace is watched or several, and not before all of them are there.
func TestJobsAreShownWithoutCopies(t *testing.T) {
	of := types.NamespacedName{Namespace: "shop", Name: "batch"}
	named := func(namespace, owner string, i int) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint(owner, "-", i), Labels: map[string]string{v1alpha1.LabelScaledJobName: owner}}
	}
	jobs := func(namespace string, n int) (all []client.Object) {
		for i := range n {
			all = append(all, &batchv1.Job{ObjectMeta: named(namespace, "batch", i)}, &batchv1.Job{ObjectMeta: named(namespace, "other", i)})
		}
		return all
	}
	pods := []client.Object{&corev1.Pod{ObjectMeta: named("shop", "batch", 0)}, &corev1.Pod{ObjectMeta: named("shop", "other", 0)}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	s := &shown{}
	var running []chan struct{}
	defer func() {
		cancel()
		for _, ended := range running {
			<-ended
		}
	}()
	start := func(kind client.Object, objects []client.Object) toolscache.SharedIndexInformer {
		from := sourcetesting.NewFakeControllerSource()
		for _, object := range objects {
			from.Add(object)
		}
		informer := s.newInformer(from, kind, 0, toolscache.Indexers{})
		ended := make(chan struct{})
		running = append(running, ended)
		go func() {
			defer close(ended)
			informer.RunWithContext(ctx)
		}()
		return informer
	}
	if _, err := s.Jobs(ctx, of); err == nil {
		t.Error("before there is a cache there are no Jobs")
	}
	idle := s.newInformer(&toolscache.ListWatch{}, &batchv1.Job{}, 0, toolscache.Indexers{})
	if _, err := s.Jobs(ctx, of); err == nil || idle.HasSynced() {
		t.Error("before the cache has read them there are no Jobs")
	}
	s.jobs = nil
	informers := []toolscache.SharedIndexInformer{start(&batchv1.Job{}, jobs("shop", 3)), start(&batchv1.Job{}, jobs("till", 2)), start(&corev1.Pod{}, pods)}
	for _, informer := range informers {
		if !toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			t.Fatal("nothing is read")
		}
	}
	got, err := s.Jobs(ctx, of)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d Jobs, %v", len(got), err)
	}
	for _, job := range got {
		if !slices.Contains(informers[0].GetIndexer().List(), any(job)) {
			t.Errorf("%s is a copy", job.Name)
		}
	}
	gotPods, err := s.Pods(ctx, of)
	if err != nil || len(gotPods) != 1 {
		t.Fatalf("%d Pods, %v", len(gotPods), err)
	}
	if !slices.Contains(informers[2].GetIndexer().List(), any(gotPods[0])) {
		t.Errorf("%s is a copy", gotPods[0].Name)
	}
}

// TestIndexesHaveAKeyForEachObjectOnce has the library's own cache index an object,
// and looks at what it keeps: keys of all namespaces only of the index that is asked
// for them.
func TestIndexesHaveAKeyForEachObjectOnce(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("ScaledObject"), meta.RESTScopeNamespace)
	mapper.Add(v1alpha1.GroupVersion.WithKind("ClusterTriggerAuthentication"), meta.RESTScopeRoot)
	made := map[string]toolscache.SharedIndexInformer{}
	objects, err := cache.New(&rest.Config{}, cache.Options{
		Scheme: scheme, Mapper: mapper, HTTPClient: http.DefaultClient,
		NewInformer: func(from toolscache.ListerWatcher, of runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
			informer := (&shown{}).newInformer(from, of, resync, indexers)
			made[fmt.Sprintf("%T", of)] = informer
			return informer
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	key := func(client.Object) []string { return []string{"a"} }
	for _, index := range []struct {
		of    client.Object
		field string
	}{
		{&v1alpha1.ScaledObject{}, rules.ByTarget},
		{&v1alpha1.ScaledObject{}, authentication.ByReference},
		{&v1alpha1.ClusterTriggerAuthentication{}, rules.ByTarget},
	} {
		if err := objects.IndexField(t.Context(), index.of, index.field, key); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		of    client.Object
		field string
		want  []string
	}{
		{&v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}, rules.ByTarget, []string{"shop/a"}},
		{&v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}, authentication.ByReference, []string{"__all_namespaces/a", "shop/a"}},
		{&v1alpha1.ClusterTriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Name: "login"}}, rules.ByTarget, []string{"__all_namespaces/a"}},
	} {
		informer := made[fmt.Sprintf("%T", tt.of)]
		if err := informer.GetIndexer().Add(tt.of); err != nil {
			t.Fatal(err)
		}
		if have := slices.Sorted(slices.Values(informer.GetIndexer().ListIndexFuncValues("field:" + tt.field))); !slices.Equal(have, tt.want) {
			t.Errorf("index %s of %T has keys %v, want %v", tt.field, tt.of, have, tt.want)
		}
	}
}
