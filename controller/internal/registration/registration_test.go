package registration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// fixture is a controller that acts, in a cluster where all is well.
type fixture struct {
	*Registration
	t       *testing.T
	clock   *clocktesting.FakeClock
	cluster client.WithWatch
	refuse  error
	acts    bool
	shadow  bool
	told    []string
	changes int
}

func service(namespace, name string) map[string]any {
	return map[string]any{"namespace": namespace, "name": name}
}

func apiService(of map[string]any) *unstructured.Unstructured {
	o := named(metrics, metricsAPI)
	o.SetAnnotations(map[string]string{"kept": "yes"})
	o.Object["spec"] = map[string]any{"group": "external.metrics.k8s.io", "version": "v1beta1", "caBundle": "Y2E=", "service": of}
	return o
}

func configuration(of ...map[string]any) *unstructured.Unstructured {
	o := named(webhook, "keda-admission")
	var all []any
	for i, s := range of {
		all = append(all, map[string]any{"name": fmt.Sprintf("v%d.kb.io", i), "clientConfig": map[string]any{"service": s}})
	}
	o.Object["webhooks"] = all
	return o
}

var (
	adapter  = service("sluice-system", "metrics-adapter")
	judge    = service("sluice-system", "keda-admission-webhooks")
	kedas    = service("keda", "keda-operator-metrics-apiserver")
	kedaHook = service("keda", "keda-admission-webhooks")
)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)), acts: true}
	f.cluster = fake.NewClientBuilder().WithObjects(apiService(adapter), configuration(judge, judge)).Build()
	f.Registration = &Registration{
		Client: interceptor.NewClient(f.cluster, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
				if f.refuse != nil {
					return f.refuse
				}
				return c.Get(ctx, key, o, options...)
			},
		}),
		Namespace: "sluice-system", MetricsService: "metrics-adapter", Webhook: "keda-admission", WebhookService: "keda-admission-webhooks",
		Acts: func() bool { return f.acts }, Shadow: func() bool { return f.shadow },
		Tell: func(about runtime.Object, kind, reason, _, note string) {
			f.told = append(f.told, fmt.Sprintf("%s %s %s: %s", kind, reason, about.GetObjectKind().GroupVersionKind().Kind, note))
		},
		Changed: func(context.Context) { f.changes++ }, Now: f.clock.Now, Log: slog.New(slog.DiscardHandler),
	}
	return f
}

// after lets time pass.
func (f *fixture) after(d time.Duration) {
	f.t.Helper()
	for range d / lookPeriod {
		f.clock.Step(lookPeriod)
		f.look(f.t.Context())
	}
}

// set makes an object be there, in place of what was.
func (f *fixture) set(o *unstructured.Unstructured) {
	f.t.Helper()
	f.remove(named(map[string]string{"APIService": metrics}[o.GetKind()]+map[string]string{"ValidatingWebhookConfiguration": webhook}[o.GetKind()], o.GetName()))
	if err := f.cluster.Create(f.t.Context(), o); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) remove(o *unstructured.Unstructured) {
	f.t.Helper()
	if err := client.IgnoreNotFound(f.cluster.Delete(f.t.Context(), o)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) figures(metrics, webhook int) {
	f.t.Helper()
	want := fmt.Sprintf(`
# HELP sluice_registered 1 while the API server asks this installation for metrics, or to judge what is applied; 0 when that is gone or leads elsewhere.
# TYPE sluice_registered gauge
sluice_registered{what="metrics"} %d
sluice_registered{what="webhook"} %d
`, metrics, webhook)
	if err := testutil.CollectAndCompare(f.Registration, strings.NewReader(want)); err != nil {
		f.t.Error(err)
	}
}

func TestWhatIsGoneOrLeadsElsewhereIsNoticedWithinTenSeconds(t *testing.T) {
	for name, tt := range map[string]struct {
		change           func(*fixture)
		metrics, webhook int
		says             string
	}{
		"the APIService is gone": {
			change: func(f *fixture) { f.remove(named(metrics, metricsAPI)) }, webhook: 1,
			says: "Warning SluiceNotAsked APIService: APIService v1beta1.external.metrics.k8s.io is gone",
		},
		"the APIService is KEDA's": {
			change: func(f *fixture) { f.set(apiService(kedas)) }, webhook: 1,
			says: "APIService v1beta1.external.metrics.k8s.io leads to Service keda/keda-operator-metrics-apiserver, not to sluice-system/metrics-adapter",
		},
		"the APIService is another adapter's": {
			change: func(f *fixture) { f.set(apiService(service("monitoring", "prometheus-adapter"))) }, webhook: 1,
			says: "leads to Service monitoring/prometheus-adapter, not to sluice-system/metrics-adapter",
		},
		"the APIService is another Sluice's": {
			change: func(f *fixture) { f.set(apiService(service("two", "metrics-adapter"))) }, webhook: 1,
			says: "leads to Service two/metrics-adapter, not to sluice-system/metrics-adapter",
		},
		"the APIService has no Service": {
			change: func(f *fixture) { f.set(apiService(nil)) }, webhook: 1, says: "leads to no Service",
		},
		"the webhook is gone": {
			change: func(f *fixture) { f.remove(named(webhook, "keda-admission")) }, metrics: 1,
			says: "Warning SluiceNotAsked ValidatingWebhookConfiguration: ValidatingWebhookConfiguration keda-admission is gone",
		},
		"the webhook is KEDA's": {
			change: func(f *fixture) { f.set(configuration(kedaHook, kedaHook)) }, metrics: 1,
			says: "of 2 webhooks 0 lead to Sluice; elsewhere: v0.kb.io to Service keda/keda-admission-webhooks, v1.kb.io",
		},
		"a webhook of KEDA's stayed": {
			change: func(f *fixture) { f.set(configuration(judge, kedaHook)) }, metrics: 1, says: "of 2 webhooks 1 lead to Sluice; elsewhere: v1.kb.io",
		},
		"the webhook is empty": {
			change: func(f *fixture) { f.set(configuration()) }, metrics: 1, says: "has no webhooks",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.after(lookPeriod)
			f.figures(1, 1)
			if f.Metrics() != nil || len(f.told) > 0 || f.changes > 0 {
				t.Fatalf("all is well: %v, told %v", f.Metrics(), f.told)
			}
			tt.change(f)
			f.after(10 * time.Second)
			f.figures(tt.metrics, tt.webhook)
			if len(f.told) != 1 || !strings.Contains(f.told[0], tt.says) {
				t.Errorf("told %v, want %q", f.told, tt.says)
			}
			if err := f.Metrics(); (err != nil) != (tt.metrics == 0) || f.changes != 1-tt.metrics {
				t.Errorf("%v after %d changes", err, f.changes)
			}
			f.after(time.Minute) // once
			f.set(apiService(adapter))
			f.set(configuration(judge, judge))
			f.after(lookPeriod)
			f.figures(1, 1)
			if f.Metrics() != nil || len(f.told) != 2 || !strings.HasPrefix(f.told[1], "Normal SluiceAsked") {
				t.Errorf("mended: %v, told %v", f.Metrics(), f.told)
			}
		})
	}
}

// What may not be read is not known to be gone, and what is replaced is gone for a
// moment.
func TestWhatCannotBeReadIsNotGone(t *testing.T) {
	f := newFixture(t)
	f.refuse = apierrors.NewForbidden(schema.GroupResource{Resource: "apiservices"}, metricsAPI, errors.New("no role"))
	f.after(time.Minute)
	if f.Metrics() != nil || len(f.told) > 0 || testutil.CollectAndCount(f.Registration) != 0 {
		t.Errorf("%v, told %v", f.Metrics(), f.told)
	}
	f.refuse = nil
	f.remove(named(metrics, metricsAPI))
	f.after(lookPeriod)
	f.set(apiService(adapter))
	f.after(lookPeriod)
	if f.Metrics() != nil || len(f.told) > 0 {
		t.Errorf("gone for a moment: %v, told %v", f.Metrics(), f.told)
	}
	f.set(apiService(kedas))
	f.after(10 * time.Second)
	f.refuse = errors.New("busy")
	f.after(time.Minute)
	if f.Metrics() == nil {
		t.Error("what was known is forgotten")
	}
}

// In a shadow all this is somebody else's; a standby looks and says nothing.
func TestWhoTellsOfIt(t *testing.T) {
	f := newFixture(t)
	f.set(apiService(kedas))
	f.Restore, f.shadow = true, true
	f.after(time.Minute)
	if f.Metrics() != nil || testutil.CollectAndCount(f.Registration) != 0 {
		t.Errorf("in a shadow: %v", f.Metrics())
	}
	f.shadow, f.acts = false, false
	f.after(time.Minute)
	if f.figures(0, 1); len(f.told) > 0 {
		t.Errorf("a standby told %v", f.told)
	}
	if have := f.live(metrics); fmt.Sprint(have["service"]) != fmt.Sprint(kedas) {
		t.Errorf("who does not act wrote %v", have)
	}
}

func (f *fixture) live(what string) map[string]any {
	f.t.Helper()
	o := named(what, map[string]string{metrics: metricsAPI, webhook: "keda-admission"}[what])
	if err := f.cluster.Get(f.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		return nil
	}
	if o.GetAnnotations() != nil {
		f.t.Logf("annotations %v", o.GetAnnotations())
	}
	spec, _ := o.Object["spec"].(map[string]any)
	if what == webhook {
		all, _ := o.Object["webhooks"].([]any)
		return map[string]any{"webhooks": len(all)}
	}
	return spec
}

func TestRestore(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*fixture)
		what   string
		want   string
		fresh  bool // the controller never saw how it was
	}{
		"an APIService that is gone":          {change: func(f *fixture) { f.remove(named(metrics, metricsAPI)) }, what: metrics, want: "caBundle:Y2E="},
		"an APIService that leads elsewhere":  {change: func(f *fixture) { f.set(apiService(kedas)) }, what: metrics, want: "caBundle:Y2E="},
		"an APIService that was gone already": {change: func(f *fixture) { f.remove(named(metrics, metricsAPI)) }, what: metrics, want: "groupPriorityMinimum:100", fresh: true},
		"a webhook that is gone":              {change: func(f *fixture) { f.remove(named(webhook, "keda-admission")) }, what: webhook, want: "webhooks:2"},
		"a webhook that leads elsewhere":      {change: func(f *fixture) { f.set(configuration(kedaHook)) }, what: webhook, want: "webhooks:2"},
		"a webhook that was gone already":     {change: func(f *fixture) { f.remove(named(webhook, "keda-admission")) }, what: webhook, fresh: true},
	} {
		for _, asked := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", asked to: ", asked), func(t *testing.T) {
				f := newFixture(t)
				f.Restore = asked
				if !tt.fresh {
					f.after(lookPeriod)
				}
				tt.change(f)
				before := fmt.Sprint(f.live(tt.what))
				f.after(15 * time.Second)
				have := fmt.Sprint(f.live(tt.what))
				switch {
				case !asked || tt.want == "":
					if have != before {
						t.Errorf("wrote %s over %s", have, before)
					}
				case !strings.Contains(have, tt.want) || tt.what == metrics && !strings.Contains(have, "name:metrics-adapter"):
					t.Errorf("put back %s, want %s", have, tt.want)
				case !slices.ContainsFunc(f.told, func(s string) bool { return strings.HasPrefix(s, "Normal SluiceAsked") }):
					t.Errorf("told %v", f.told)
				}
			})
		}
	}
}

// Whoever else claims it is not fought over it.
func TestRestoreIsNoFight(t *testing.T) {
	f := newFixture(t)
	f.Restore = true
	f.after(lookPeriod)
	writes := 0
	for range 5 * time.Minute / lookPeriod {
		if fmt.Sprint(f.live(metrics)["service"]) == fmt.Sprint(adapter) {
			writes++
			f.set(apiService(kedas))
		}
		f.after(lookPeriod)
	}
	if writes > 6 {
		t.Errorf("put back %d times in five minutes", writes)
	}
}
