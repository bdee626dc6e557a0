package federation

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

func secretSource(name, key string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
}

func value(s string) scalerv1.EnvVar { return scalerv1.EnvVar{Value: &s} }

// template has a container with everything an environment may have.
var template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{
	{
		Name: "app",
		EnvFrom: []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "base"}}},
			{Prefix: "DB_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "db"}, Optional: new(true)}},
		},
		Env: []corev1.EnvVar{
			{Name: "HOST", Value: "kafka"},
			{Name: "PORT", Value: "9092"},
			{Name: "SERVERS", Value: "$(HOST):$(PORT)"},
			{Name: "EARLY", Value: "$(LATE)"},
			{Name: "LATE", Value: "late"},
			{Name: "PASSWORD", ValueFrom: secretSource("login", "password")},
			{Name: "PRICE", Value: "5$$ $(HOST) $(GONE) $(NODE)"},
			{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
			{Name: "PATH", Value: "/bin"},
			{Name: "PATH", Value: "$(PATH):/more"},
			{Name: "CIRCLE", Value: "$(BACK)"},
			{Name: "BACK", Value: "$(CIRCLE)"},
			{Name: "SELF", Value: "$(SELF)"},
			{Name: "DB_URL", Value: "$(DB_URL)/$(DB_USER)"},
		},
	},
	{Name: "sidecar", Env: []corev1.EnvVar{{Name: "HOST", Value: "elsewhere"}}},
}}}

func TestEnvironmentOfATrigger(t *testing.T) {
	base := func(key string) scalerv1.EnvVar {
		return scalerv1.EnvVar{ConfigMapKeyRef: &scalerv1.KeyRef{Name: "base", Key: key}}
	}
	db := func(key string) scalerv1.EnvVar {
		return scalerv1.EnvVar{SecretKeyRef: &scalerv1.KeyRef{Name: "db", Key: key, Optional: true}}
	}
	anyOf := func(from ...scalerv1.EnvVar) scalerv1.EnvVar { return scalerv1.EnvVar{EnvFrom: from} }
	type env = map[string]scalerv1.EnvVar
	tests := map[string]struct {
		container string
		names     string
		want      env
	}{
		"a literal brings along what it refers to":    {names: "SERVERS", want: env{"SERVERS": value("$(HOST):$(PORT)"), "HOST": value("kafka"), "PORT": value("9092")}},
		"a secret goes along by name, not by value":   {names: "PASSWORD", want: env{"PASSWORD": {SecretKeyRef: &scalerv1.KeyRef{Name: "login", Key: "password"}}}},
		"what only the kubelet knows is left out":     {names: "NODE", want: env{}},
		"what is defined later is not seen":           {names: "EARLY", want: env{"EARLY": value("$(LATE#envFrom)"), "LATE#envFrom": anyOf(base("LATE"))}},
		"dollars and strangers stay what they are":    {names: "PRICE", want: env{"PRICE": value("5$$ $(HOST) $(GONE) $(NODE#envFrom)"), "HOST": value("kafka"), "GONE": anyOf(base("GONE")), "NODE#envFrom": anyOf(base("NODE"))}},
		"the last definition counts and may extend":   {names: "PATH", want: env{"PATH": value("$(PATH#8):/more"), "PATH#8": value("/bin")}},
		"the last source of envFrom counts most":      {names: "DB_USER", want: env{"DB_USER": anyOf(db("USER"), base("DB_USER"))}},
		"a definition may extend that of a source":    {names: "DB_URL", want: env{"DB_URL": value("$(DB_URL#envFrom)/$(DB_USER)"), "DB_URL#envFrom": anyOf(db("URL"), base("DB_URL")), "DB_USER": anyOf(db("USER"), base("DB_USER"))}},
		"the container may be chosen":                 {container: "sidecar", names: "HOST", want: env{"HOST": value("elsewhere")}},
		"without envFrom a stranger is not looked up": {container: "sidecar", names: "GONE", want: env{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"xFromEnv", "xFromEnvFile"} {
				so := scaledObject(func(so *v1alpha1.ScaledObject) {
					so.Spec.ScaleTargetRef.EnvSourceContainerName = tt.container
					so.Spec.Triggers[0].Metadata = map[string]string{key: tt.names, "other": "PASSWORD"}
				})
				got := TriggersOf(so, Workload{Template: template})[0].Env
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s: got %s, want %s", key, encoded(t, got), encoded(t, tt.want))
				}
			}
		})
	}
}

func encoded(t *testing.T, env map[string]scalerv1.EnvVar) string {
	t.Helper()
	text, err := scalerv1.EncodeEnv(env)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestACircleIsLeftForTheFamilyToFind(t *testing.T) {
	lonely := template.DeepCopy()
	lonely.Spec.Containers[0].EnvFrom = nil
	for _, name := range []string{"CIRCLE", "BACK", "SELF"} {
		env := envOf(map[string]string{"xFromEnv": name}, &lonely.Spec.Containers[0])
		if _, err := scalerv1.ResolveEnv(env, []string{name}, nil); err == nil {
			t.Errorf("%s: %s has no circle", name, encoded(t, env))
		}
	}
}

func TestAnAuthenticationMayNameAnyVariable(t *testing.T) {
	so := scaledObject(func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login"}
	})
	containers := TriggersOf(so, Workload{Template: template})[0].Containers
	if len(containers) != 2 || containers[0].Name != "app" || containers[1].Name != "sidecar" {
		t.Fatalf("containers = %+v, want app and sidecar", containers)
	}
	if got := containers[1].Env; !reflect.DeepEqual(got, map[string]scalerv1.EnvVar{"HOST": value("elsewhere")}) {
		t.Errorf("sidecar has %s", encoded(t, got))
	}
	names := slices.Sorted(maps.Keys(containers[0].Env))
	for _, want := range []string{"HOST", "PASSWORD", "SERVERS", "PATH"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
	want := []scalerv1.EnvFrom{{Prefix: "DB_", Secret: "db", Optional: true}, {ConfigMap: "base"}}
	if got := containers[0].EnvFrom; !reflect.DeepEqual(got, want) {
		t.Errorf("sources = %+v, want %+v", got, want)
	}
	if without := TriggersOf(scaledObject(func(*v1alpha1.ScaledObject) {}), Workload{Template: template}); without[0].Containers != nil {
		t.Error("containers go along without an authentication")
	}
}

func TestInlineSecretsGoAlongByName(t *testing.T) {
	so := scaledObject(func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].SecretKeyRef = []v1alpha1.TargetRef{{Parameter: "password", Name: "login", Key: "pass"}}
	})
	trigger := TriggersOf(so, Workload{})[0]
	if want := map[string]scalerv1.KeyRef{"password": {Name: "login", Key: "pass"}}; !maps.Equal(trigger.Inline, want) {
		t.Fatalf("inline = %v, want %v", trigger.Inline, want)
	}
	ref, err := trigger.fullRef()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := ref.GetScalerMetadata()[scalerv1.KeySecretKeyRef], `{"password":{"name":"login","key":"pass"}}`; got != want {
		t.Errorf("on the wire: %s, want %s", got, want)
	}
	if trigger.reference() == "" {
		t.Error("it would cross a plaintext connection")
	}
}
