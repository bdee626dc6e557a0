package admission

import (
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

func typed(triggerType string, pairs ...string) v1alpha1.ScaleTrigger {
	t := kafka(pairs...)
	t.Type = triggerType
	return t
}

func authenticated(t v1alpha1.ScaleTrigger) v1alpha1.ScaleTrigger {
	t.AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login"}
	return t
}

func ofTheCluster(t v1alpha1.ScaleTrigger) v1alpha1.ScaleTrigger {
	t.AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login", Kind: "ClusterTriggerAuthentication"}
	return t
}

func inline(t v1alpha1.ScaleTrigger, parameter string) v1alpha1.ScaleTrigger {
	t.SecretKeyRef = []v1alpha1.TargetRef{{Parameter: parameter, Name: "login", Key: "key"}}
	return t
}

func metricType(t v1alpha1.ScaleTrigger, text string) v1alpha1.ScaleTrigger {
	t.MetricType = autoscalingv2.MetricTargetType(text)
	return t
}

func TestMetadata(t *testing.T) {
	tests := map[string]struct {
		trigger  v1alpha1.ScaleTrigger
		refusals []string // whatever the installation wants
		problems []string // warnings, or refusals of a strict installation
		hints    []string // warnings everywhere
	}{
		"as it should be": {trigger: kafka("lagThreshold", "5", "ratio", "0.5", "allowIdleConsumers", "true", "timeout", "30s", "endpointParams", "a=b", "sasl", "none")},

		"a reserved key": {trigger: kafka("sluice.dev/mode", "idle", "sluice.dev/env", "{}"),
			refusals: []string{
				"trigger 0 (kafka): sluice.dev/env: keys with prefix sluice.dev/ are reserved",
				"trigger 0 (kafka): sluice.dev/mode: keys with prefix sluice.dev/ are reserved",
			}},
		"an unknown key": {trigger: kafka("whatever", "x"), problems: []string{"trigger 0 (kafka): whatever: unknown parameter"}},
		"a slip of a key, its value kept to itself": {trigger: kafka("lagTreshold", "hunter2"),
			problems: []string{"trigger 0 (kafka): lagTreshold: unknown parameter, did you mean lagThreshold?"}},
		"a secret in the metadata": {trigger: kafka("password", "hunter2"),
			problems: []string{"trigger 0 (kafka): password: ignored, password is only read from authentication"}},
		"a type that passes everything on": {trigger: typed("cron", "whatever", "x")},

		"an integer that is none":         {trigger: kafka("lagThreshold", "many"), problems: []string{`trigger 0 (kafka): lagThreshold: "many" is not an integer`}},
		"a number that is none":           {trigger: kafka("ratio", ".5"), problems: []string{`trigger 0 (kafka): ratio: ".5" is not a number`}},
		"a bool that is none":             {trigger: kafka("allowIdleConsumers", "yes"), problems: []string{`trigger 0 (kafka): allowIdleConsumers: "yes" is neither true nor false`}},
		"a duration that is none":         {trigger: kafka("timeout", "soon"), problems: []string{`trigger 0 (kafka): timeout: "soon" is neither a duration such as 30s nor a number of milliseconds`}},
		"a query that is none":            {trigger: kafka("endpointParams", "%zz"), problems: []string{`trigger 0 (kafka): endpointParams: "%zz" is not a URL query`}},
		"a value that is not allowed":     {trigger: kafka("sasl", "Plaintext"), problems: []string{`trigger 0 (kafka): sasl: "Plaintext" is not one of none, plaintext`}},
		"a value that does not count":     {trigger: authenticated(kafka("sasl", "Plaintext"))}, // authentication comes first
		"blank is absent":                 {trigger: kafka("lagThreshold", " ")},
		"what only the family knows":      {trigger: kafka("lagThreshold", "0"), problems: []string{"trigger 0 (kafka): lagThreshold: target 0 is not greater than 0"}},
		"a family that does not answer":   {trigger: kafka("topic", "stalled")},
		"a parameter that is missing":     {trigger: kafka("topic", ""), problems: []string{"trigger 0 (kafka): topic: is required (looked in metadata)"}},
		"a parameter that is blank":       {trigger: kafka("topic", " "), problems: []string{"trigger 0 (kafka): topic: is required (looked in metadata)"}},
		"missing wherever it may be":      {trigger: kafka("bootstrapServers", ""), problems: []string{"trigger 0 (kafka): bootstrapServers: is required (looked in metadata, bootstrapServersFromEnv, authentication)"}},
		"a variable may supply it":        {trigger: kafka("bootstrapServers", "", "bootstrapServersFromEnv", "SERVERS")},
		"an authentication may supply it": {trigger: authenticated(kafka("bootstrapServers", ""))},
		"a Secret may supply it": {trigger: inline(kafka("bootstrapServers", ""), "bootstrapServers"),
			hints: []string{"trigger 0 (kafka): secretKeyRef: ties the trigger to its Secrets; for more than a try, name them in a TriggerAuthentication"}},
		"a Secret beside a ClusterTriggerAuthentication": {trigger: inline(ofTheCluster(kafka()), "sasl"),
			refusals: []string{"trigger 0 (kafka): secretKeyRef: cannot be beside a ClusterTriggerAuthentication; name the Secrets in a TriggerAuthentication"}},
		"a Secret that supplies another": {trigger: inline(kafka("bootstrapServers", ""), "password"),
			problems: []string{"trigger 0 (kafka): bootstrapServers: is required (looked in metadata, bootstrapServersFromEnv, authentication)"},
			hints:    []string{"trigger 0 (kafka): secretKeyRef: ties the trigger to its Secrets; for more than a try, name them in a TriggerAuthentication"}},
		"neither may supply it":  {trigger: authenticated(kafka("topic", "", "topicFromEnv", "TOPIC")), problems: []string{"trigger 0 (kafka): topic: is required (looked in metadata)", "trigger 0 (kafka): topicFromEnv: ignored, topic is only read from metadata"}},
		"a deprecated parameter": {trigger: kafka("mode", "x"), hints: []string{"trigger 0 (kafka): mode: deprecated, use sasl"}},
		"a removed parameter":    {trigger: kafka("legacy", "x"), problems: []string{"trigger 0 (kafka): legacy: was removed: use sasl"}},
		"several at once": {trigger: kafka("topic", "", "lagThreshold", "many", "x", "y", "mode", "z"),
			problems: []string{"trigger 0 (kafka): topic: is required (looked in metadata)", `trigger 0 (kafka): lagThreshold: "many" is not an integer`, "trigger 0 (kafka): x: unknown parameter"},
			hints:    []string{"trigger 0 (kafka): mode: deprecated, use sasl"}},

		"a metricType that is not for queues": {trigger: metricType(kafka(), "Utilization"), problems: []string{`trigger 0 (kafka): metricType: "Utilization" is neither AverageValue nor Value`}},
		"cpu":                                 {trigger: resourceTrigger("cpu")},
		"cpu without metricType":              {trigger: metricType(resourceTrigger("cpu"), ""), problems: []string{"trigger 0 (cpu): metricType: missing, use Utilization or AverageValue"}},
		"cpu without value":                   {trigger: resourceTrigger("cpu", "value", ""), problems: []string{"trigger 0 (cpu): value: missing"}},
		"memory with a value that is none":    {trigger: metricType(resourceTrigger("memory", "value", "many"), "AverageValue"), problems: []string{`trigger 0 (memory): value: "many" is not a quantity greater than 0, such as 500m or 512Mi`}},
		"cpu with a slip of a key":            {trigger: resourceTrigger("cpu", "contanerName", "app"), problems: []string{"trigger 0 (cpu): contanerName: unknown parameter, did you mean containerName?"}},

		"a slip of a type":                  {trigger: typed("kafak"), problems: []string{"trigger 0 (kafak): type: unknown, did you mean kafka? (Service scaler-kafak not found in namespace sluice-system)"}},
		"a slip of a built-in type":         {trigger: typed("memroy"), problems: []string{"trigger 0 (memroy): type: unknown, did you mean memory? (Service scaler-memroy not found in namespace sluice-system)"}},
		"a slip of a house's own type":      {trigger: typed("house-queu"), problems: []string{"trigger 0 (house-queu): type: unknown, did you mean house-queue? (Service scaler-house-queu not found in namespace sluice-system)"}},
		"a type that cannot be a Service's": {trigger: typed("Kafka"), problems: []string{`trigger 0 (Kafka): type: unknown, did you mean kafka? (trigger type "Kafka" cannot be a Service name, use type: external)`}},
		"a family that is not installed":    {trigger: typed("mysql"), hints: []string{"trigger 0 (mysql): Service scaler-mysql not found in namespace sluice-system: family sql, which serves the type, is not installed: add deploy/scalers/sql to your kustomization"}},
		"a family that nobody knows yet":    {trigger: typed("ledger"), hints: []string{"trigger 0 (ledger): Service scaler-ledger not found in namespace sluice-system: no family is known to serve the type"}},
		"a family that starts":              {trigger: typed("starting")},
		"a family that does not describe":   {trigger: typed("third-party")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			object := scaledObject(triggers(tt.trigger), targetOf("argoproj.io/v1alpha1", "Rollout", "worker"))
			f := newFixture(t)
			f.want(f.ask(pathScaledObject, object, nil), tt.refusals, append(tt.problems, tt.hints...))
			f.Strict = true
			f.want(f.ask(pathScaledObject, object, nil), append(tt.refusals, tt.problems...), tt.hints)
			f.want(f.ask(pathScaledObject, object, nil, func(r *admissionv1.AdmissionRequest) { dryRun(r) }), append(tt.refusals, tt.problems...), tt.hints)

			// What was let in once stays in.
			object.Spec.MaxReplicaCount = new(int32(7))
			old := scaledObject(triggers(tt.trigger), targetOf("argoproj.io/v1alpha1", "Rollout", "worker"))
			f.want(f.ask(pathScaledObject, object, old), nil, nil)
		})
	}
}
