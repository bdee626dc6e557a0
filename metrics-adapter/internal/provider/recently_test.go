package provider

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// TestMetricsOfATargetShareWhatIsReadLive has the HPA controller ask for both
// metrics of an object, several at once, in four syncs that are 15 s apart.
func TestMetricsOfATargetShareWhatIsReadLive(t *testing.T) {
	rollout := func(so *v1alpha1.ScaledObject) {
		so.Spec.ScaleTargetRef = v1alpha1.ScaleTarget{Name: "rollout", Kind: "Rollout", APIVersion: "argoproj.io/v1alpha1"}
		for i := range so.Spec.Triggers {
			so.Spec.Triggers[i].AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login"}
		}
	}
	tests := map[string]struct {
		values map[string]float64
		change []func(*v1alpha1.ScaledObject)
		forgot bool
		want   int64
	}{
		"a good reading": {values: map[string]float64{"0 a": 7, "1 b": 7}, change: []func(*v1alpha1.ScaledObject){valueTargets}},
		"a target of another kind, forgotten by its family": {
			values: map[string]float64{"0 a": 7, "1 b": 7}, change: []func(*v1alpha1.ScaledObject){rollout}, forgot: true, want: 4,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, tt.values, tt.change...)
				f.families.forgot = tt.forgot
				requests := f.counted()
				for range 4 {
					var asking sync.WaitGroup
					for range 3 {
						for _, metric := range []string{"s0-a", "s1-b"} {
							asking.Go(func() {
								if _, err := f.ask(t.Context(), selector, metric); err != nil {
									t.Error(err)
								}
							})
						}
					}
					asking.Wait()
					<-time.After(15*time.Second - 1)
				}
				if got := requests.Load(); got != tt.want {
					t.Errorf("%d requests, want %d", got, tt.want)
				}
				<-time.After(templateFor)
				synctest.Wait()
				if left := f.templates.answers.len() + f.known.answers.len(); left != 0 {
					t.Errorf("%d answers are kept for nobody", left)
				}
			})
		})
	}
}

// TestMetricsOfAnObjectShareItsVariables: what a large target has is found out
// once for all metrics of an object, beside the answers and within their time,
// and anew as soon as the target is another.
func TestMetricsOfAnObjectShareItsVariables(t *testing.T) {
	f := newFixture(t, map[string]float64{"0 a": 7, "1 b": 7}, func(so *v1alpha1.ScaledObject) {
		for i := range so.Spec.Triggers {
			so.Spec.Triggers[i].Metadata = map[string]string{"topicFromEnv": "TOPIC"}
			so.Spec.Triggers[i].AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login"}
		}
	})
	ask := func() (told []*scalerv1.Container) {
		t.Helper()
		for _, metric := range []string{"s0-a", "s1-b"} {
			if _, err := f.ask(t.Context(), selector, metric); err != nil {
				t.Fatal(err)
			}
			told = append(told, &f.families.asked[len(f.families.asked)-1].Containers[0])
		}
		return told
	}
	before := ask()
	if before[0] != before[1] {
		t.Error("found out for each metric")
	}
	cluster, ok := f.Objects.(client.Client)
	if !ok {
		t.Fatal("the fixture is no client")
	}
	target := &appsv1.Deployment{}
	if err := cluster.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "worker"}, target); err != nil {
		t.Fatal(err)
	}
	target.Spec.Template.Spec.Containers[0].Env = append(target.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "NEW", Value: "new"})
	if err := cluster.Update(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if after := ask(); after[0] == before[0] || after[0] != after[1] || after[0].Env["NEW"].Value == nil {
		t.Errorf("asked with %v", after[0])
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	so := &v1alpha1.ScaledObject{}
	if err := cluster.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "worker"}, so); err != nil {
		t.Fatal(err)
	}
	so.ResourceVersion = "another"
	held := make(chan struct{})
	defer close(held)
	a, _ := f.known.answer(edition{types.NamespacedName{Namespace: "shop", Name: "worker"}, "another", target.ResourceVersion})
	go func() { <-held; close(a.done) }() // somebody finds it out, and takes long
	if _, err := f.asking(late, so); err == nil {
		t.Error("an answer waits for its variables beyond its time")
	}
}

// TestWhoWaitsForAnothersReadKeepsItsOwnTime has two ask at once of a server
// that stalls: one that goes away takes nothing from the other, and what failed
// is asked for anew.
func TestWhoWaitsForAnothersReadKeepsItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recently[scaleTarget, number]
		reads := number(0)
		read := func(ctx context.Context) (number, error) {
			reads++
			select {
			case <-time.After(Budget / 2):
				return reads, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		short, cancel := context.WithTimeout(t.Context(), Budget/4)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := r.get(short, scaleTarget{}, time.Second, read); err == nil {
				t.Error("an answer after the end")
			}
		})
		both.Go(func() {
			if got, err := r.get(t.Context(), scaleTarget{}, time.Second, read); got != 1 || err != nil {
				t.Errorf("%d, %v", got, err)
			}
		})
		both.Wait()
		stalls := func(ctx context.Context) (number, error) { <-ctx.Done(); return 0, ctx.Err() }
		<-time.After(2 * time.Second)
		if _, err := r.get(t.Context(), scaleTarget{}, time.Second, stalls); err == nil {
			t.Error("an answer of a server that stalls")
		}
		if got, err := r.get(t.Context(), scaleTarget{}, time.Second, read); got != 2 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
	})
}

// number is an answer of a thousand bytes.
type number int

func (number) size() int { return 1000 }
