package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// asked is what the API server said to one object.
type asked struct {
	refused  string // "" when it was admitted
	warnings []string
}

func (a asked) String() string {
	return "refused with " + a.refused + ", warned of " + strings.Join(a.warnings, " | ")
}

// ask creates an object, or, on a dry run, looks whether it could be.
func ask(t *testing.T, manifest string, options ...client.CreateOption) asked {
	t.Helper()
	objects, err := localcluster.Decode([]byte(manifest))
	if err != nil || len(objects) != 1 {
		t.Fatalf("%d objects in %s: %v", len(objects), manifest, err)
	}
	var heard hearing
	config := world.cluster.Config()
	config.WarningHandlerWithContext = &heard
	api, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Create(t.Context(), objects[0], options...); err != nil {
		heard.asked.refused = err.Error()
	}
	return heard.asked
}

// hearing collects warnings.
type hearing struct {
	mu    sync.Mutex
	asked asked
}

func (h *hearing) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked.warnings = append(h.asked.warnings, text)
}

// manifest is an object as JSON, which is YAML.
func manifest(t *testing.T, kind, namespace, name string, spec, annotations map[string]any) string {
	t.Helper()
	metadata := map[string]any{"name": name, "annotations": annotations}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	group := "keda.sh"
	if strings.HasSuffix(kind, "CloudEventSource") {
		group = "eventing.keda.sh"
	}
	text, err := json.Marshal(map[string]any{"apiVersion": group + "/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAdmission holds the rules against the real API server: those of the
// webhook, those of the CRDs, and what kubectl does with both.
func TestAdmission(t *testing.T) {
	t.Parallel()
	cron := map[string]any{"type": "cron", "metadata": map[string]any{"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "3"}}
	kafka := func(metadata map[string]any) map[string]any {
		return map[string]any{"type": "kafka", "metadata": metadata}
	}
	goodKafka := map[string]any{"bootstrapServers": "kafka:9092", "consumerGroup": "g", "topic": "t"}
	cpu := map[string]any{"type": "cpu", "metricType": "Utilization", "metadata": map[string]any{"value": "50"}}
	memory := map[string]any{"type": "memory", "metricType": "Utilization", "metadata": map[string]any{"value": "50"}}
	with := func(all ...map[string]any) map[string]any {
		spec := map[string]any{"scaleTargetRef": map[string]any{"name": "worker"}, "triggers": []any{cron}}
		for _, some := range all {
			for key, value := range some {
				spec[key] = value
			}
		}
		return spec
	}
	on := func(all ...map[string]any) map[string]any {
		list := make([]any, len(all))
		for i, one := range all {
			list[i] = one
		}
		return map[string]any{"triggers": list}
	}
	named := func(trigger map[string]any, name string) map[string]any {
		return map[string]any{"type": trigger["type"], "metadata": trigger["metadata"], "name": name}
	}
	advanced := func(key string, value any) map[string]any {
		return map[string]any{"advanced": map[string]any{key: value}}
	}
	hpaName := func(name string) map[string]any {
		return advanced("horizontalPodAutoscalerConfig", map[string]any{"name": name})
	}
	ns := namespace(t)
	taken := object{t, ns, "taken"}
	taken.deployment(1)
	taken.apply(spec{"triggers": []any{cron}, "advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"name": "hpa-of-taken"}}})
	owned := object{t, ns, "owned"}
	owned.deployment(1) // its containers ask for nothing
	if err := world.cluster.ApplyYAML(t.Context(), `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {namespace: `+ns+`, name: mine}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: owned}
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]`); err != nil {
		t.Fatal(err)
	}
	target := func(name string, more ...string) map[string]any {
		ref := map[string]any{"name": name}
		for i := 0; i < len(more); i += 2 {
			ref[more[i]] = more[i+1]
		}
		return map[string]any{"scaleTargetRef": ref}
	}
	handOver := map[string]any{"scaledobject.keda.sh/transfer-hpa-ownership": "true"}
	azure := func(more map[string]any) map[string]any {
		more["provider"] = "azure-workload"
		return map[string]any{"podIdentity": more}
	}
	aws := func(more map[string]any) map[string]any {
		more["provider"] = "aws"
		return map[string]any{"podIdentity": more}
	}
	oauth := func(id, url string) map[string]any {
		return map[string]any{"oauth2": map[string]any{"type": "clientCredentials", "clientId": id, "tokenUrl": url}}
	}
	sink := func(subscription map[string]any) map[string]any {
		return map[string]any{"destination": map[string]any{"http": map[string]any{"uri": "http://sink.invalid"}}, "eventSubscription": subscription}
	}
	everyType := []any{}
	for _, event := range strings.Fields(`scaledobject.ready scaledobject.failed scaledobject.removed scaledobject.paused scaledobject.unpaused
		scaledjob.ready scaledjob.failed scaledjob.removed scaledjob.paused scaledjob.unpaused
		scaledjob.rolloutcleanup.started scaledjob.rolloutcleanup.completed scaledjob.rolloutcleanup.failed
		authentication.triggerauthentication.created authentication.triggerauthentication.updated authentication.triggerauthentication.removed
		authentication.clustertriggerauthentication.created authentication.clustertriggerauthentication.updated
		authentication.clustertriggerauthentication.removed`) {
		everyType = append(everyType, "keda."+event+".v1")
	}
	paused := []any{"keda.scaledobject.paused.v1"}
	job := func(all ...map[string]any) map[string]any {
		spec := with(all...)
		delete(spec, "scaleTargetRef")
		spec["jobTargetRef"] = map[string]any{"template": map[string]any{"spec": map[string]any{
			"restartPolicy": "Never", "containers": []any{map[string]any{"name": "app", "image": "app.invalid/app"}},
		}}}
		return spec
	}
	tests := map[string]struct {
		kind        string // ScaledObject unless given
		name        string // "orders" unless given
		spec        map[string]any
		annotations map[string]any
		refused     []string
		warned      []string
		real        bool // not a dry run, which spares some rules
	}{
		"least that is required":                {spec: with()},
		"S1 and S2 warn":                        {spec: with(map[string]any{"pollingInterval": 10, "cooldownPeriod": 10, "minReplicaCount": 1}), warned: []string{"pollingInterval: has no effect", "cooldownPeriod: has no effect"}},
		"S1 and S2 with idle":                   {spec: with(map[string]any{"pollingInterval": 10, "cooldownPeriod": 10, "minReplicaCount": 1, "idleReplicaCount": 0})},
		"S3 unknown kind":                       {spec: with(target("worker", "apiVersion", "example.com/v1", "kind", "Widget")), refused: []string{"scaleTargetRef: kind: example.com/v1 Widget is not known to this cluster"}},
		"S4 another object's target":            {spec: with(target("taken")), refused: []string{`Deployment "taken" is already scaled by ScaledObject "taken"`}},
		"S4 another kind of the same name":      {spec: with(target("taken", "kind", "StatefulSet"))},
		"S5 another object's HPA":               {spec: with(hpaName("hpa-of-taken")), refused: []string{`"hpa-of-taken" is already that of ScaledObject "taken"`}},
		"S6 unnamed trigger":                    {spec: with(on(named(cron, "a"), cron), advanced("scalingModifiers", map[string]any{"formula": "a + b", "target": "1"})), refused: []string{"scalingModifiers.formula: unknown name b"}},
		"S6 formula without target (CRD)":       {spec: with(on(named(cron, "a")), advanced("scalingModifiers", map[string]any{"formula": "a"})), refused: []string{"target is required"}},
		"S6 target without formula (CRD)":       {spec: with(advanced("scalingModifiers", map[string]any{"target": "1"})), refused: []string{"formula is required"}},
		"S6 target that is no number":           {spec: with(on(named(cron, "a")), advanced("scalingModifiers", map[string]any{"formula": "a", "target": "two"})), refused: []string{`scalingModifiers.target: "two" is not a number greater than 0`}},
		"S6 formula that is meant to do harm":   {spec: with(advanced("scalingModifiers", map[string]any{"formula": strings.Repeat("(", 50_000), "target": "1"})), refused: []string{"scalingModifiers.formula: has 50000 characters"}},
		"more triggers than an object may have": {spec: with(map[string]any{"triggers": slices.Repeat([]any{cron}, 101)}), refused: []string{"triggers: 101 triggers, more than the 100 that --max-triggers lets it have"}},
		"S7 behavior without formula (CRD)":     {spec: with(map[string]any{"fallback": map[string]any{"failureThreshold": 3, "replicas": 1, "behavior": "scalingModifiers"}}), refused: []string{"fallback.behavior scalingModifiers needs advanced.scalingModifiers.formula"}},
		"H2 handed over":                        {spec: with(target("owned"), hpaName("mine")), annotations: handOver},
		"H3 handed over without its name":       {spec: with(target("owned")), annotations: handOver, refused: []string{`advanced.horizontalPodAutoscalerConfig.name: must be "mine"`}},
		"H4 another HPA":                        {spec: with(target("owned")), refused: []string{`Deployment "owned" is already scaled by HPA "mine"`}},
		"C3 and C4 on the real thing":           {spec: with(target("bare"), on(memory)), real: true, refused: []string{`container "app" of Deployment "bare" has neither a request nor a limit for memory`, "minReplicaCount: cpu and memory alone cannot scale from zero"}},
		"C3 and C4 on a dry run":                {spec: with(target("bare"), on(memory))},
		"a window of more than an hour (CRD)": {spec: with(advanced("horizontalPodAutoscalerConfig", map[string]any{"behavior": map[string]any{
			"scaleUp": map[string]any{"stabilizationWindowSeconds": 3601}, "scaleDown": map[string]any{"stabilizationWindowSeconds": 3601}}})),
			refused: []string{"scaleUp.stabilizationWindowSeconds must be between 0 and 3600", "scaleDown.stabilizationWindowSeconds must be between 0 and 3600"}},
		"R1 min above max (CRD)":            {spec: with(map[string]any{"minReplicaCount": 5, "maxReplicaCount": 3}), refused: []string{"minReplicaCount must not exceed maxReplicaCount"}},
		"R2 idle at min (CRD)":              {spec: with(map[string]any{"minReplicaCount": 2, "idleReplicaCount": 2}), refused: []string{"idleReplicaCount must be lower than minReplicaCount"}},
		"R2 idle 0, min unset (CRD)":        {spec: with(map[string]any{"idleReplicaCount": 0}), refused: []string{"idleReplicaCount must be lower than minReplicaCount"}},
		"R2 idle 0, min 0":                  {spec: with(map[string]any{"idleReplicaCount": 0, "minReplicaCount": 0})},
		"F2 cpu only":                       {spec: with(on(cpu), map[string]any{"fallback": map[string]any{"failureThreshold": 3, "replicas": 1}}), refused: []string{"fallback: needs a trigger other than cpu and memory"}},
		"N1 and N2 too long":                {name: strings.Repeat("n", 64), spec: with(), refused: []string{"metadata.name: has 64 characters"}},
		"N2 a name of 63 characters":        {name: strings.Repeat("n", 63), spec: with(), warned: []string{"metadata.name: has 63 characters, so the HPA is called keda-hpa-nnn"}},
		"S4 another spelling of the kind":   {spec: with(target("taken", "kind", "deployments")), refused: []string{`Deployment "taken" is already scaled by ScaledObject "taken"`}},
		"S3 a kind without scale":           {spec: with(target("worker", "kind", "daemonset")), warned: []string{"scaleTargetRef: apps/v1.DaemonSet has no scale subresource"}},
		"N2 a name of its own":              {name: strings.Repeat("n", 60), spec: with(hpaName("short"))},
		"T1 no trigger (CRD)":               {spec: with(map[string]any{"triggers": []any{}}), refused: []string{"spec.triggers"}},
		"T2 useCachedMetrics of cron (CRD)": {spec: with(on(map[string]any{"type": "cron", "metadata": cron["metadata"], "useCachedMetrics": true})), refused: []string{"useCachedMetrics is not supported by cpu, memory and cron"}},
		"T3 the same name twice":            {spec: with(on(named(cron, "a"), named(cron, "a"))), refused: []string{`trigger 1 (cron): name: "a" is already the name of trigger 0`}},
		"several at once": {name: strings.Repeat("n", 64), spec: with(target("taken"), on(named(cron, "a"), named(cron, "a"))),
			refused: []string{`is already scaled by ScaledObject "taken"`, "metadata.name: has 64 characters", `trigger 1 (cron): name: "a"`}},

		"a reserved key":           {spec: with(on(kafka(map[string]any{"bootstrapServers": "k:9092", "consumerGroup": "g", "topic": "t", "sluice.dev/mode": "idle"}))), refused: []string{"sluice.dev/mode: keys with prefix sluice.dev/ are reserved"}},
		"a slip of a key":          {spec: with(on(kafka(map[string]any{"bootstrapServers": "k:9092", "consumerGroup": "g", "topic": "t", "lagTreshold": "5"}))), warned: []string{"trigger 0 (kafka): lagTreshold: unknown parameter, did you mean lagThreshold?"}},
		"a number that is none":    {spec: with(on(kafka(map[string]any{"bootstrapServers": "k:9092", "consumerGroup": "g", "topic": "t", "lagThreshold": "many"}))), warned: []string{`trigger 0 (kafka): lagThreshold: "many" is not an integer`}},
		"a time zone that is none": {spec: with(on(map[string]any{"type": "cron", "metadata": map[string]any{"timezone": "Mars/Olympus", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "3"}})), warned: []string{"trigger 0 (cron): timezone: "}},
		"a schedule that is none":  {spec: with(on(map[string]any{"type": "cron", "metadata": map[string]any{"timezone": "UTC", "start": "61 8 * * *", "end": "0 18 * * *", "desiredReplicas": "3"}})), warned: []string{"trigger 0 (cron): start: "}},
		"a threshold of 0":         {spec: with(on(kafka(map[string]any{"bootstrapServers": "k:9092", "consumerGroup": "g", "topic": "t", "lagThreshold": "0"}))), warned: []string{"trigger 0 (kafka): lagThreshold: "}},
		"a parameter missing":      {spec: with(on(kafka(map[string]any{"bootstrapServers": "k:9092", "topic": "t"}))), warned: []string{"trigger 0 (kafka): consumerGroup: is required"}},
		"a slip of a type":         {spec: with(on(map[string]any{"type": "kafak", "metadata": goodKafka})), warned: []string{"trigger 0 (kafak): type: unknown, did you mean kafka?"}},
		"a family not installed":   {spec: with(on(map[string]any{"type": "solr", "metadata": goodKafka})), warned: []string{"trigger 0 (solr): Service scaler-solr not found in namespace sluice-system: no family of this version serves the type"}},
		"a part of a type":         {spec: with(on(map[string]any{"type": "sqs", "metadata": goodKafka})), warned: []string{"trigger 0 (sqs): type: unknown, did you mean aws-sqs-queue?"}},
		"a metricType that fails":  {spec: with(on(map[string]any{"type": "kafka", "metricType": "Utilization", "metadata": goodKafka})), warned: []string{`trigger 0 (kafka): metricType: "Utilization" is neither AverageValue nor Value`}},

		"T3 of a ScaledJob":       {kind: "ScaledJob", spec: job(on(named(cron, "a"), named(cron, "a"))), refused: []string{`trigger 1 (cron): name: "a" is already the name of trigger 0`}},
		"bounds of a ScaledJob":   {kind: "ScaledJob", spec: job(map[string]any{"minReplicaCount": 5, "maxReplicaCount": 3}), refused: []string{"minReplicaCount: 5 exceeds maxReplicaCount 3"}},
		"metadata of a ScaledJob": {kind: "ScaledJob", spec: job(on(kafka(map[string]any{"bootstrapServers": "k:9092", "consumerGroup": "g", "topic": "t", "lagTreshold": "5"}))), warned: []string{"did you mean lagThreshold?"}},

		"A1 identityId empty (CRD)":         {kind: "TriggerAuthentication", spec: azure(map[string]any{"identityId": ""}), refused: []string{"podIdentity.identityId must not be empty"}},
		"A2 authority without tenant (CRD)": {kind: "TriggerAuthentication", spec: azure(map[string]any{"identityAuthorityHost": "login"}), refused: []string{"podIdentity.identityAuthorityHost needs identityTenantId"}},
		"A3 tenant empty (CRD)":             {kind: "TriggerAuthentication", spec: azure(map[string]any{"identityTenantId": ""}), refused: []string{"podIdentity.identityTenantId must not be empty"}},
		"A4 role of two owners (CRD)":       {kind: "TriggerAuthentication", spec: aws(map[string]any{"roleArn": "arn", "identityOwner": "workload"}), refused: []string{"podIdentity.roleArn excludes identityOwner workload"}},
		"A5 external id alone (CRD)":        {kind: "ClusterTriggerAuthentication", spec: aws(map[string]any{"externalID": "id"}), refused: []string{"podIdentity.externalID needs roleArn"}},
		"A7 and A8 empty (CRD)":             {kind: "TriggerAuthentication", spec: oauth("", ""), refused: []string{"clientId must not be empty", "tokenUrl must not be empty"}},
		"A9 not a URL":                      {kind: "ClusterTriggerAuthentication", spec: oauth("id", "/token"), refused: []string{"oauth2.tokenUrl: is not an absolute http or https URL"}},
		"A valid":                           {kind: "TriggerAuthentication", spec: oauth("id", "https://login.example.com/token")},
		"E1 included and excluded (CRD)":    {kind: "CloudEventSource", spec: sink(map[string]any{"includedEventTypes": paused, "excludedEventTypes": paused}), refused: []string{"setting included types and excluded types at the same time is not supported"}},
		"E1 for the cluster (CRD)":          {kind: "ClusterCloudEventSource", spec: sink(map[string]any{"includedEventTypes": paused, "excludedEventTypes": paused}), refused: []string{"setting included types and excluded types at the same time is not supported"}},
		"E2 no event type (CRD)":            {kind: "CloudEventSource", spec: sink(map[string]any{"excludedEventTypes": []any{"keda.scaledobject.gone.v1"}}), refused: []string{`Unsupported value: "keda.scaledobject.gone.v1"`}},
		"E2 every event type (note 14)":     {kind: "ClusterCloudEventSource", spec: sink(map[string]any{"includedEventTypes": everyType})},
		"a file for a namespace":            {kind: "TriggerAuthentication", spec: map[string]any{"filePath": "login.json"}, warned: []string{"filePath: only works in a ClusterTriggerAuthentication"}},
	}
	object{t, ns, "bare"}.deployment(1)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind, objectName, where := "ScaledObject", "orders", ns
			if tt.kind != "" {
				kind = tt.kind
			}
			if tt.name != "" {
				objectName = tt.name
			}
			if strings.HasPrefix(kind, "Cluster") {
				where = ""
			}
			var options []client.CreateOption
			if !tt.real {
				options = append(options, client.DryRunAll)
			}
			text := manifest(t, kind, where, objectName, tt.spec, tt.annotations)
			// Caches, and the webhook's own key, may be a moment behind.
			wait(t, name, func() (bool, string) {
				have := ask(t, text, options...)
				if tt.real && have.refused == "" {
					o := object{t, ns, objectName}.scaledObject()
					if err := world.cluster.Client().Delete(t.Context(), o); err != nil {
						t.Fatal(err)
					}
				}
				missing := func(text, in string) bool { return !strings.Contains(in, text) }
				if (have.refused == "") != (len(tt.refused) == 0) || len(have.warnings) < len(tt.warned) {
					return false, have.String()
				}
				told := strings.Join(have.warnings, "\n")
				return !slices.ContainsFunc(tt.refused, func(s string) bool { return missing(s, have.refused) }) &&
					!slices.ContainsFunc(tt.warned, func(s string) bool { return missing(s, told) }), have.String()
			})
		})
	}
}

// kubectl runs kubectl with a file and returns what it prints, warnings
// included.
func kubectl(t *testing.T, file string, args ...string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(args, "--kubeconfig", world.cluster.Kubeconfig(), "-f", path)
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), world.cluster.Kubectl(), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// TestAppliedTogether applies a ScaledObject and its target from one file, in
// the order that is harder, on a dry run and for real; and takes a finalizer
// off an object that no rule would let in.
func TestAppliedTogether(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	file := `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: ` + ns + `, name: worker}
spec:
  scaleTargetRef: {name: worker}
  minReplicaCount: 1
  maxReplicaCount: 5
  pollingInterval: 10
  triggers:
    - {type: cpu, metricType: Utilization, metadata: {value: "50"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: ` + ns + `, name: worker}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      containers:
        - {name: app, image: app.invalid/app, resources: {requests: {cpu: 100m}}}
`
	wait(t, "kubectl apply --dry-run=server", func() (bool, string) {
		out, err := kubectl(t, file, "apply", "--dry-run=server")
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Contains(out, "Warning: pollingInterval: has no effect with minReplicaCount 1"), out
	})
	if events := eventsOf(t, ns, "KEDAScalerInfo"); len(events) > 0 {
		t.Errorf("a dry run left %q", events)
	}
	out, err := kubectl(t, file, "apply")
	if err != nil || !strings.Contains(out, `Deployment "worker" does not exist yet`) {
		t.Fatalf("%v: %s", err, out)
	}
	o := object{t, ns, "worker"}
	o.waitCondition("Ready", "True", "")
	wait(t, "an event about pollingInterval", func() (bool, string) {
		events := eventsOf(t, ns, "KEDAScalerInfo")
		return slices.ContainsFunc(events, func(note string) bool { return strings.HasPrefix(note, "pollingInterval: has no effect") }), strings.Join(events, " | ")
	})
	if out, err := kubectl(t, file, "delete", "--timeout=60s"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wait(t, "the ScaledObject to be gone", func() (bool, string) {
		err := world.cluster.Client().Get(t.Context(), o.key(), o.scaledObject())
		return client.IgnoreNotFound(err) == nil && err != nil, "it is still there"
	})
}

// TestWebhookAsksForTheAPIServersCertificate sends a review past the API server,
// whose own ones TestAdmission has judged.
func TestWebhookAsksForTheAPIServersCertificate(t *testing.T) {
	t.Parallel()
	for _, i := range world.cluster.Instances("controller") {
		address, stop, err := i.PortForward(t.Context(), "webhook")
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // whoever forges asks nobody who answers
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			"https://"+address+"/validate-keda-sh-v1alpha1-scaledobject", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := transport.RoundTrip(request)
		if err == nil {
			response.Body.Close()
			t.Errorf("%s answers a forged review with %s", i.Name(), response.Status)
		} else if !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("%s: %v", i.Name(), err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// eventsOf are the notes of a namespace's events with a reason.
func eventsOf(t *testing.T, namespace, reason string) []string {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("events.k8s.io/v1")
	list.SetKind("EventList")
	if err := world.cluster.Client().List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, event := range list.Items {
		if r, _, _ := unstructured.NestedString(event.Object, "reason"); r == reason {
			note, _, _ := unstructured.NestedString(event.Object, "note")
			notes = append(notes, note)
		}
	}
	return notes
}
