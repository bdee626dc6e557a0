package federation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
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
		env, err := environmentsOf(lonely, "").named(map[string]string{"xFromEnv": name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := scalerv1.ResolveEnv(env, []string{name}, nil); err == nil {
			t.Errorf("%s: %s has no circle", name, encoded(t, env))
		}
	}
}

// attacks are environments that somebody made to be expensive, about as large
// as an object of the API server can be.
var attacks = map[string]func(c *corev1.Container){
	// Each is looked for among all behind it that do not lead back: with a
	// search of its own for each, that takes hours.
	"references to what is defined later": func(c *corev1.Container) {
		for i := range 3000 {
			var text strings.Builder
			for j := range 50 {
				fmt.Fprintf(&text, "$(V%d)", i+j+1)
			}
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), Value: text.String()})
		}
	},
	"all in one circle": func(c *corev1.Container) {
		for i := range 30_000 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), Value: fmt.Sprintf("$(V%d)$(V%d)", (i+1)%30_000, (i*7+1)%30_000)})
		}
	},
	"one name again and again": func(c *corev1.Container) {
		for range 40_000 {
			c.Env = append(c.Env, corev1.EnvVar{Name: "V0", Value: "$(V0):/bin"})
		}
	},
	"a long row": func(c *corev1.Container) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "V39999", Value: "end"})
		for i := range 39_999 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", 39_998-i), Value: fmt.Sprintf("$(V%d)", 39_999-i)})
		}
	},
	"one long literal": func(c *corev1.Container) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "V0", Value: strings.Repeat("$(V0)", 250_000)})
	},
	// Every name may be in every object: gigabytes of places to look at.
	"strangers and objects that may have them": func(c *corev1.Container) {
		for i := range 8_000 {
			c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: fmt.Sprintf("m%d", i)}}})
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), Value: fmt.Sprintf("$(W%d)$(X%d)$(Y%d)", i, i, i)})
		}
	},
	"characters that are long as JSON": func(c *corev1.Container) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "V0", Value: strings.Repeat("<", 60<<10)})
	},
}

// An object has a hundred triggers, each with variables and an authentication,
// and a workload that is an attack. What is told of it is found out once,
// shared, and within its bounds; and a trigger that asks for more says which
// variable that is.
func TestEnvironmentsThatAreAttacks(t *testing.T) {
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			large := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}, {Name: "sidecar", Env: []corev1.EnvVar{{Name: "HOST", Value: "elsewhere"}}}}}}
			attack(&large.Spec.Containers[0])
			so := scaledObject(func(so *v1alpha1.ScaledObject) {
				one := so.Spec.Triggers[0]
				one.AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login"}
				one.Metadata = map[string]string{"hostFromEnv": "V0"}
				so.Spec.Triggers = slices.Repeat([]v1alpha1.ScaleTrigger{one}, 100)
			})
			triggers := TriggersOf(so, Workload{Template: large})
			total := 0
			for _, trigger := range triggers {
				if &trigger.Containers[0] != &triggers[0].Containers[0] {
					t.Fatal("containers are copied for each trigger")
				}
				if trigger.Unread == nil {
					total += len(encoded(t, trigger.Env))
					continue
				}
				if text := trigger.Unread.Error(); trigger.Env != nil || len(text) > 1<<10 || !strings.HasPrefix(text, "variables V0 of container app: ") && !strings.HasPrefix(text, "variables V0: container app has 8000 sources") {
					t.Fatalf("%.300s", text)
				}
			}
			if total > mostOfObject {
				t.Errorf("variables of all triggers have %d bytes", total)
			}
			containers, err := scalerv1.EncodeContainers(triggers[0].Containers)
			if err != nil || len(containers) > mostOfTrigger {
				t.Errorf("containers have %d bytes, %v", len(containers), err)
			}
			if !triggers[0].Containers[0].Incomplete {
				t.Error("nothing says that they are not all")
			}
		})
	}
}

// What has room goes along beside what has none, and a family is not led to
// another place for what was left out.
func TestLargeVariablesAreLeftOutForAnAuthentication(t *testing.T) {
	large := template.DeepCopy()
	app := &large.Spec.Containers[0]
	app.Env = append([]corev1.EnvVar{{Name: "BUNDLE", Value: strings.Repeat("x", mostOfTrigger)}, {Name: "USES", Value: "$(BUNDLE)"}}, app.Env...)
	containers := environmentsOf(large, "").containers()
	env := containers[0].Env
	if _, ok := env["BUNDLE"]; ok || !containers[0].Incomplete || containers[0].EnvFrom != nil {
		t.Errorf("%v", containers[0])
	}
	if _, ok := env["USES"]; ok || *env["SERVERS"].Value != "$(HOST):$(PORT)" || env["PASSWORD"].SecretKeyRef == nil {
		t.Errorf("variables %s", encoded(t, env))
	}
	if len(containers) != 2 || containers[1].Incomplete || *containers[1].Env["HOST"].Value != "elsewhere" {
		t.Errorf("%v", containers)
	}
	large.Spec.Containers = slices.Repeat([]corev1.Container{{Name: strings.Repeat("n", 63)}}, 5000)
	containers = environmentsOf(large, "").containers()
	if last := containers[len(containers)-1]; len(containers) > 1000 || !last.Incomplete {
		t.Errorf("%d containers, the last is %v", len(containers), last)
	}
}

// Circles are those of the definition: each reaches the other.
func TestCircles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		references := map[string][]string{}
		const names = 12
		name := func() string { return strconv.Itoa(random.IntN(names)) }
		for i := range names {
			references[strconv.Itoa(i)] = nil
		}
		for range random.IntN(2 * names) {
			from := name()
			references[from] = append(references[from], name())
		}
		reach := map[[2]string]bool{}
		for a := range references {
			reach[[2]string{a, a}] = true
			for _, b := range references[a] {
				reach[[2]string{a, b}] = true
			}
		}
		for k := range references {
			for a := range references {
				for b := range references {
					if reach[[2]string{a, k}] && reach[[2]string{k, b}] {
						reach[[2]string{a, b}] = true
					}
				}
			}
		}
		number := circles(references)
		for a := range references {
			for b := range references {
				if want := reach[[2]string{a, b}] && reach[[2]string{b, a}]; want != (number[a] == number[b]) {
					t.Fatalf("%s and %s: in a circle %v, numbers %v, references %v", a, b, want, number, references)
				}
			}
		}
	}
}

// A trigger with too many variables is not served and says why; it is again
// once they are fewer, and no other one hears of it.
func TestATriggerWithTooManyVariablesIsNotServed(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	other := trigger("kafka", 2)
	w.Subscribe(other)
	w.until("the other one is served", func() bool { return w.state(other).Accepted })
	const refusal = "variables BUNDLE of container app: those of the trigger have more than 65536 bytes, with what they refer to"
	so := scaledObject(func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers = []v1alpha1.ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"xFromEnv": "BUNDLE"}}}
	})
	of := func(size int) Trigger {
		c := corev1.Container{Name: "app", Env: []corev1.EnvVar{{Name: "BUNDLE", Value: strings.Repeat("x", size)}}}
		return TriggersOf(so, Workload{Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}})[0]
	}
	for range 2 {
		large := of(mostOfTrigger)
		w.Subscribe(large)
		w.until("it is refused", func() bool { err := w.state(large).Unreachable; return err != nil && err.Error() == refusal })
		w.until("the family let it go", func() bool { return !slices.Contains(f.has(), large.String()) })
		if _, err := w.GetMetrics(t.Context(), large, "x"); err == nil {
			t.Error("it was asked about without its variables")
		}
		small := of(mostOfTrigger / 2)
		w.Subscribe(small)
		w.until("it is served", func() bool { s := w.state(small); return s.Accepted && s.Unreachable == nil })
	}
	if s := w.state(other); !s.Accepted || s.Unreachable != nil {
		t.Errorf("the other one: %+v", s)
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
