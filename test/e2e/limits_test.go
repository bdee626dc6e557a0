package e2e

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// installCore rolls controllers and adapters out with further arguments and
// variables, until the scenario ends.
func installCore(t *testing.T, args map[string][]string, env map[string][]corev1.EnvVar) {
	t.Helper()
	all, err := world.cluster.Render(t.Context(), "deploy/core")
	if err != nil {
		t.Fatal(err)
	}
	var deployments []*unstructured.Unstructured
	for _, object := range all {
		if object.GetKind() == "Deployment" {
			deployments = append(deployments, object)
		}
	}
	install := func(ctx context.Context, more map[string][]string, vars map[string][]corev1.EnvVar) error {
		args, env := coreArgs(), coreEnv()
		for component := range args {
			args[component] = append(args[component], more[component]...)
			env[component] = append(env[component], vars[component]...)
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return world.cluster.Install(ctx, localcluster.Installation{Objects: deployments, Args: args, Env: env})
	}
	t.Cleanup(func() {
		if err := install(context.WithoutCancel(t.Context()), nil, nil); err != nil {
			t.Error(err)
		}
	})
	if err := install(t.Context(), args, env); err != nil {
		t.Fatal(err)
	}
}

// TestFaultPartOfACluster has an installation that is limited to one namespace
// and one label, and strict besides: controllers, adapters and webhook leave
// alone what is not theirs, whatever it says.
func TestFaultPartOfACluster(t *testing.T) {
	ours, theirs := namespace(t), namespace(t)
	limits := []corev1.EnvVar{{Name: "WATCH_NAMESPACE", Value: ours}, {Name: "WATCH_LABEL_SELECTOR", Value: "shard=ours"}}
	installCore(t,
		map[string][]string{"controller": {"--admission=strict", "--no-data=zero"}, "metrics-adapter": {"--no-data=zero"}},
		map[string][]corev1.EnvVar{
			"controller":      append(limits, corev1.EnvVar{Name: "WATCH_LABEL_SELECTOR_FOR_TRIGGERAUTH", Value: "shard=ours"}),
			"metrics-adapter": limits,
		})
	script := startScript(t)
	label := map[string]any{"shard": "ours"}
	scaled := func(namespace, name string, labels map[string]any) row {
		t.Helper()
		r := row{object: object{t, namespace, name}, script: script}
		r.deployment(0)
		r.set(50)
		if err := r.applyAs(map[string]any{"labels": labels}, quick(r.trigger())); err != nil {
			t.Fatal(err)
		}
		return r
	}
	// Who looked at these would have had them before the one that is ours.
	elsewhere := scaled(theirs, "elsewhere", label)
	unlabelled := scaled(ours, "unlabelled", nil)
	mine := scaled(ours, "mine", label)
	mine.waitReplicas(10)
	mine.waitCondition("Ready", "True", "")
	metric := metricNames(mine.hpa())[0]
	if value, err := mine.metricValue(); err != nil || value != 50 {
		t.Errorf("the adapter says %v, %v", value, err)
	}
	for _, r := range []row{elsewhere, unlabelled} {
		so := r.scaledObject()
		if err := world.cluster.Client().Get(t.Context(), r.key(), so); err != nil {
			t.Fatal(err)
		}
		if _, told := so.Object["status"]; told || len(so.GetFinalizers()) > 0 || r.hpa() != nil || r.replicas() != 0 {
			t.Errorf("%s was touched: %v, %d replicas", r.target(), so.Object, r.replicas())
		}
		if answer, err := r.askMetric(metric); !apierrors.IsNotFound(err) {
			t.Errorf("%s: the adapter answers %s, %v, want not found", r.target(), answer, err)
		}
	}
	// The label alone makes it ours.
	unlabelled.label(label)
	unlabelled.waitReplicas(10)

	t.Run("authentications", func(t *testing.T) { onlyLabelledAuthentications(t, mine.in(t), label) })
	t.Run("strict admission", func(t *testing.T) { onlyStrictWithOurs(t, ours, theirs, label) })
	t.Run("no data", func(t *testing.T) { noDataOfTheInstallation(t, object{t, ours, "nothing"}, label) })
}

// onlyLabelledAuthentications has an object with two logins, of which the
// controller knows one.
func onlyLabelledAuthentications(t *testing.T, o object, label map[string]any) {
	login := func(name string, labels map[string]any) *unstructured.Unstructured {
		text, err := json.Marshal(map[string]any{
			"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
			"metadata": map[string]any{"namespace": o.namespace, "name": name, "labels": labels}, "spec": map[string]any{},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := world.cluster.ApplyYAML(t.Context(), string(text)); err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		u.SetAPIVersion("keda.sh/v1alpha1")
		u.SetKind("TriggerAuthentication")
		u.SetNamespace(o.namespace)
		u.SetName(name)
		return u
	}
	users := func(login *unstructured.Unstructured) string {
		if err := world.cluster.Client().Get(t.Context(), client.ObjectKeyFromObject(login), login); err != nil {
			t.Fatal(err)
		}
		names, _, _ := unstructured.NestedString(login.Object, "status", "scaledobjects")
		return names
	}
	unknown, known := login("unknown", nil), login("known", label)
	patch := []map[string]any{}
	for _, name := range []string{"unknown", "known"} {
		patch = append(patch, map[string]any{"type": "cron", "authenticationRef": map[string]any{"name": name}, "metadata": map[string]any{
			"timezone": "UTC", "start": "0 0 1 1 *", "end": "59 23 31 12 *", "desiredReplicas": "3",
		}})
	}
	text, err := json.Marshal(map[string]any{"spec": map[string]any{"triggers": patch}})
	if err != nil {
		t.Fatal(err)
	}
	if err := world.cluster.Client().Patch(t.Context(), o.scaledObject(), client.RawPatch(types.MergePatchType, text)); err != nil {
		t.Fatal(err)
	}
	o.wait("the login's user in its status", func() (bool, string) { names := users(known); return names == o.name, names })
	if names := users(unknown); names != "" {
		t.Errorf("a login without the label has users: %s", names)
	}
}

// onlyStrictWithOurs has the API server ask about a slip, and about what is none.
func onlyStrictWithOurs(t *testing.T, ours, theirs string, label map[string]any) {
	const slip = "trigger 0 (kafka): lagTreshold: unknown parameter, did you mean lagThreshold?"
	trigger := func(kind string, pairs ...string) map[string]any {
		metadata := map[string]any{"bootstrapServers": "k:9092", "consumerGroup": "g", "topic": "t"}
		for i := 0; i < len(pairs); i += 2 {
			metadata[pairs[i]] = pairs[i+1]
			if pairs[i+1] == "" {
				delete(metadata, pairs[i])
			}
		}
		return map[string]any{"type": kind, "metadata": metadata}
	}
	slipped := trigger("kafka", "lagTreshold", "5")
	authenticated := map[string]any{
		"type": "aws-sqs-queue", "metadata": map[string]any{"queueURL": "https://sqs.eu-west-1.amazonaws.com/1/orders"},
		"authenticationRef": map[string]any{"name": "login"}, // its awsRegion, perhaps
	}
	manifest := func(namespace string, labels, trigger map[string]any, maximum int) string {
		text, err := json.Marshal(map[string]any{
			"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
			"metadata": map[string]any{"namespace": namespace, "name": "slip", "labels": labels},
			"spec":     map[string]any{"scaleTargetRef": map[string]any{"name": "slip"}, "triggers": []any{trigger}, "maxReplicaCount": maximum},
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, tt := range map[string]struct {
		namespace string
		labels    map[string]any
		trigger   map[string]any
		refused   string
		warnings  int
	}{
		"ours":                             {ours, label, slipped, slip, 0},
		"without the label":                {ours, nil, slipped, "", 0},
		"in another namespace":             {theirs, label, slipped, "", 0},
		"missing":                          {ours, label, trigger("kafka", "bootstrapServers", ""), "trigger 0 (kafka): bootstrapServers: is required", 0},
		"a variable may supply it":         {ours, label, trigger("kafka", "bootstrapServers", "", "bootstrapServersFromEnv", "SERVERS"), "", 0},
		"an authentication may supply it":  {ours, label, authenticated, "", 0},
		"a family that is not there":       {ours, label, trigger("solr"), "", 1},
		"a family that nobody knows":       {ours, label, trigger("ledger"), "", 1},
		"a slip of a family that is there": {ours, label, trigger("kafak"), "trigger 0 (kafak): type: unknown, did you mean kafka?", 0},
	} {
		t.Run(name, func(t *testing.T) {
			// The webhook may still be reading what its families describe.
			wait(t, name, func() (bool, string) {
				have := ask(t, manifest(tt.namespace, tt.labels, tt.trigger, 5), client.DryRunAll)
				return strings.Contains(have.refused, tt.refused) && (have.refused != "") == (tt.refused != "") && len(have.warnings) == tt.warnings, have.String()
			})
		})
	}
	t.Run("an update that leaves the triggers alone", func(t *testing.T) {
		// Let in before it was ours.
		if err := world.cluster.ApplyYAML(t.Context(), manifest(ours, nil, slipped, 5)); err != nil {
			t.Fatal(err)
		}
		if err := world.cluster.ApplyYAML(t.Context(), manifest(ours, label, slipped, 6)); err != nil {
			t.Error(err)
		}
		slipped["name"] = "changed"
		if err := world.cluster.ApplyYAML(t.Context(), manifest(ours, label, slipped, 6)); err == nil || !strings.Contains(err.Error(), slip) {
			t.Errorf("a change of the trigger: %v", err)
		}
	})
}

// noDataOfTheInstallation has a source that answers with nothing: 0 where the
// installation says so, and an error for the object that wants to know.
func noDataOfTheInstallation(t *testing.T, o object, label map[string]any) {
	a := &api{page: "waiting NaN\n"}
	a.start(t)
	defer a.stop()
	o.deployment(0)
	s := quick(brokers.Trigger{Type: "metrics-api", Metadata: map[string]string{
		"url": "http://" + a.address + "/metrics", "format": "prometheus", "valueLocation": "waiting", "targetValue": "5",
	}})
	s["pollingInterval"] = 1
	for _, tt := range []struct {
		annotations map[string]any
		ready, says string
	}{
		{map[string]any{}, "True", ""},
		{map[string]any{"sluice.dev/no-data": "error"}, "False", "no data"},
	} {
		if err := o.applyAs(map[string]any{"labels": maps.Clone(label), "annotations": tt.annotations}, s); err != nil {
			t.Fatal(err)
		}
		o.waitCondition("Ready", tt.ready, tt.says)
	}
}
