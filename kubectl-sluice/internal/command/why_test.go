package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

var (
	scaledObjects = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}
	scaledJobs    = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledjobs"}
)

// shop has a ScaledObject orders and a ScaledJob batch, with annotations. It stands
// in for an API server, and knows no rights.
func shop(annotations map[string]any) *why.Cluster {
	object := func(kind, name string, spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "keda.sh/v1alpha1", "kind": kind,
			"metadata": map[string]any{"namespace": "shop", "name": name, "annotations": runtime.DeepCopyJSON(annotations)}, "spec": spec,
		}}
	}
	triggers := []any{map[string]any{"type": "kafka", "metadata": map[string]any{"topic": "orders"}}}
	kinds := map[schema.GroupVersionResource]string{scaledObjects: "ScaledObjectList", scaledJobs: "ScaledJobList"}
	event := func(name, about, message string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", Name: name},
			InvolvedObject: corev1.ObjectReference{Kind: "ScaledObject", Namespace: "shop", Name: about}, Reason: "KEDAScalersStarted", Message: message,
		}
	}
	return &why.Cluster{
		Objects: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds,
			object("ScaledObject", "orders", map[string]any{"scaleTargetRef": map[string]any{"name": "worker"}, "triggers": triggers}),
			object("ScaledJob", "batch", map[string]any{"jobTargetRef": map[string]any{}, "triggers": triggers})),
		Core: fake.NewClientset(event("a", "orders", "started watching kafka"), event("b", "others", "of another object")),
	}
}

// told is what a controller answers about any object.
func told(a account.Account) func(context.Context) (asking, error) {
	return func(context.Context) (asking, error) {
		return func(context.Context, string) ([]byte, error) { return json.Marshal(a) }, nil
	}
}

func TestWhy(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	value := 0.0
	whole := account.Account{Now: noon, Since: noon, Times: 1, Last: scaling.Explanation{
		Time: noon, Replicas: ptr.To[int32](0), Next: "the controller, when a trigger turns active",
		Metrics: []scaling.ExplainedMetric{{Name: "s0-orders", Outcome: "value", Value: &value, ReadAt: noon, Noticed: "polling"}},
	}}
	older := whole
	older.Now = time.Time{}
	nobody := func(context.Context) (asking, error) { return nil, errors.New("no controller is ready") }
	for name, tt := range map[string]struct {
		args   []string
		ask    func(context.Context) (asking, error)
		failed bool
		says   []string
		not    string
	}{
		"a controller tells": {
			[]string{"so/orders"}, told(whole), false,
			[]string{"0 replicas of Deployment worker, at rest", "by polling", "1 more of s0-orders wakes it", "started watching kafka"}, "What is missing",
		},
		"an older one tells": {
			[]string{"scaledobject/orders"}, told(older), false,
			[]string{"1 more of s0-orders wakes it", "What is missing", "the controller is of an older version"}, "",
		},
		"an older one knows no ScaledJobs": {
			[]string{"sj/batch"}, told(older), false,
			[]string{"ScaledJob shop/batch: an unknown number of Jobs runs", "tells nothing of ScaledJobs"}, "replicas of Deployment",
		},
		"one that has no such page": {
			[]string{"so/orders"}, func(context.Context) (asking, error) {
				return hasPage(func(context.Context, string) ([]byte, error) {
					return nil, forward.NewStatusError(http.StatusNotFound, "404 page not found\n")
				}), nil
			}, false, []string{"What is missing", "an older version of Sluice, which has no page /decisions:"}, "",
		},
		"one that decided nothing": {
			[]string{"so/orders"}, func(context.Context) (asking, error) {
				return hasPage(func(context.Context, string) ([]byte, error) {
					return nil, forward.NewStatusError(http.StatusNotFound, "nothing was decided yet")
				}), nil
			}, false, []string{"What is missing", "nothing was decided yet"}, "older version",
		},
		"nobody tells": {
			[]string{"so/orders"}, nobody, false,
			[]string{"What is missing", "what the controller knows: no controller is ready", "it has no condition Ready"}, "of another object",
		},
		"nonsense": {
			[]string{"so/orders"}, func(context.Context) (asking, error) {
				return func(context.Context, string) ([]byte, error) { return []byte("<html>"), nil }, nil
			}, false, []string{"its answer makes no sense"}, "",
		},
		"as JSON":            {[]string{"so/orders", "-o", "json"}, told(whole), false, []string{`"source": "controller"`, `"noticed": "polling"`}, "What is"},
		"as YAML":            {[]string{"so/orders", "-o", "yaml"}, nobody, false, []string{"source: API server"}, "What is"},
		"another output":     {[]string{"so/orders", "-o", "wide"}, told(whole), true, []string{`--output: "wide" is neither json nor yaml`}, ""},
		"another kind":       {[]string{"deploy/orders"}, told(whole), true, []string{`"deploy" is neither scaledobject (so) nor scaledjob (sj)`}, ""},
		"no kind":            {[]string{"orders"}, told(whole), true, []string{"is not <kind>/<name>"}, ""},
		"nothing":            {nil, told(whole), true, []string{"name an object, such as so/orders or sj/batch"}, ""},
		"an object not here": {[]string{"so/other"}, told(whole), true, []string{"there is no ScaledObject shop/other"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := &explaining{
				controllers: controllers{cluster: genericclioptions.NewConfigFlags(true)}, now: func() time.Time { return noon },
				connect: func() (*why.Cluster, error) { return shop(nil), nil }, ask: tt.ask,
			}
			text, err := execute(t, e.command(), tt.args)
			if (err != nil) != tt.failed {
				t.Errorf("error %v", err)
			}
			for _, says := range tt.says {
				if !strings.Contains(text, says) {
					t.Errorf("%q is not in\n%s", says, text)
				}
			}
			if tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("%q is in\n%s", tt.not, text)
			}
		})
	}
}

// Who does not lead refers to another, and is not taken at its word.
func TestTheLeaderIsAsked(t *testing.T) {
	standby := func(context.Context, string) ([]byte, error) {
		return nil, forward.NewStatusError(http.StatusMisdirectedRequest, "this controller does not lead")
	}
	leads := func(context.Context, string) ([]byte, error) { return []byte("told"), nil }
	broken := func(context.Context, string) ([]byte, error) {
		return nil, forward.NewStatusError(http.StatusNotFound, "nothing was decided yet")
	}
	for name, tt := range map[string]struct {
		ways []asking
		want string
		err  string
	}{
		"the first":        {[]asking{leads, broken}, "told", ""},
		"the second":       {[]asking{standby, leads}, "told", ""},
		"nobody":           {[]asking{standby, standby}, "", "does not lead"},
		"it knows nothing": {[]asking{standby, broken, leads}, "", "nothing was decided yet"},
	} {
		text, err := leading(tt.ways)(t.Context(), "/decisions")
		if string(text) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestOverrides(t *testing.T) {
	const paused, pinned, reason = "autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas", "sluice.dev/pause-reason"
	const other = "example.com/kept"
	for name, tt := range map[string]struct {
		args   []string
		before map[string]any
		says   string
		after  map[string]string // nil when it is refused
	}{
		"pause":                 {[]string{"pause", "so/orders", "--reason", "the broker moves"}, nil, "ScaledObject shop/orders is paused", map[string]string{paused: "true", reason: "the broker moves"}},
		"pause what was pinned": {[]string{"pause", "so/orders"}, map[string]any{pinned: "3", reason: "old"}, "is paused", map[string]string{paused: "true"}},
		"pause a ScaledJob":     {[]string{"pause", "sj/batch"}, nil, "ScaledJob shop/batch is paused", map[string]string{paused: "true"}},
		"pin":                   {[]string{"pin", "so/orders", "5", "--reason", "load test"}, map[string]any{paused: "true"}, "pinned to 5 replicas", map[string]string{pinned: "5", reason: "load test"}},
		"pin to none":           {[]string{"pin", "so/orders", "0"}, nil, "pinned to 0 replicas", map[string]string{pinned: "0"}},
		"pin a ScaledJob":       {[]string{"pin", "sj/batch", "5"}, nil, "has no replicas that could be pinned", nil},
		"pin to less":           {[]string{"pin", "so/orders", "--", "-1"}, nil, "-1 is no number of replicas", nil},
		"pin to words":          {[]string{"pin", "so/orders", "many"}, nil, `"many" is no number of replicas`, nil},
		"a long reason":         {[]string{"pause", "so/orders", "--reason", strings.Repeat("x", 1025)}, nil, "--reason: it has 1025 bytes", nil},
		"a reason of two lines": {[]string{"pause", "so/orders", "--reason", "a\nb"}, nil, "--reason: it is to be one line", nil},
		"resume": {
			[]string{"resume", "so/orders"}, map[string]any{paused: "true", "autoscaling.keda.sh/paused-scale-in": "true", reason: "old"},
			"scales again; it had autoscaling.keda.sh/paused: true, autoscaling.keda.sh/paused-scale-in: true", map[string]string{},
		},
		"resume what was not paused": {[]string{"resume", "so/orders"}, nil, "ScaledObject shop/orders was not paused", map[string]string{}},
		"an object not here":         {[]string{"pause", "so/other"}, nil, "there is no ScaledObject shop/other", nil},
		"resume one not here":        {[]string{"resume", "sj/other"}, nil, "there is no ScaledJob shop/other", nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := map[string]any{other: "1"}
			maps.Copy(before, tt.before)
			cluster := shop(before)
			for _, command := range overridesOf(func() (*why.Cluster, error) { return cluster, nil }) {
				if command.Name() != tt.args[0] {
					continue
				}
				text, err := execute(t, command, tt.args[1:])
				if !strings.Contains(text, tt.says) || (err != nil) != (tt.after == nil) {
					t.Errorf("%v: %s", err, text)
				}
			}
			resource, name := scaledObjects, "orders"
			if strings.HasPrefix(tt.args[1], "sj/") {
				resource, name = scaledJobs, "batch"
			}
			now, err := cluster.Objects.Resource(resource).Namespace("shop").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := tt.after
			if want == nil {
				want = map[string]string{}
			}
			have := now.GetAnnotations()
			if have[other] != "1" {
				t.Errorf("annotations of others: %v", have)
			}
			delete(have, other)
			if len(have) != len(want) {
				t.Errorf("annotations %v, want %v", have, want)
			}
			for name, value := range want {
				if have[name] != value {
					t.Errorf("annotations %v, want %v", have, want)
				}
			}
		})
	}
}

// execute runs a command in namespace shop and returns what it prints, and its
// error as a user sees it.
func execute(t *testing.T, command *cobra.Command, args []string) (string, error) {
	t.Helper()
	return executeAs(t, command, append([]string{"-n", "shop"}, args...))
}

// executeAs runs a command with exactly these arguments.
func executeAs(t *testing.T, command *cobra.Command, args []string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetOut(terminal.NewWriter(&out))
	command.SetErr(terminal.NewWriter(&out))
	command.SetArgs(args)
	err := command.ExecuteContext(t.Context())
	if err != nil {
		out.WriteString(err.Error())
	}
	return out.String(), err
}
